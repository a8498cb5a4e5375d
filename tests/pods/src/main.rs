//! The program that runs in the tests' pods next to the collector: `pods relay LISTEN TARGET` and `pods send HOST:PORT
//! SERVICE FIRST SECONDS PAUSE_MS`, which prints the number of acknowledged requests.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use otelcore_pods::{load, relay};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match *args {
        ["relay", listen, target] => {
            let target: SocketAddr = target.parse().unwrap();
            relay::serve(&TcpListener::bind(listen).unwrap(), move |_| vec![target]);
        }
        ["send", target, service, first, seconds, pause] => {
            let duration = Duration::from_secs_f64(seconds.parse().unwrap());
            let pause = Duration::from_millis(pause.parse().unwrap());
            let result = load::send_until_acknowledged(target, service, first.parse().unwrap(), duration, pause);
            println!("acknowledged {} refused {}", result.acknowledged, result.refused);
        }
        ["hold", megabytes] => {
            // Uses memory, page by page, and then waits: this tests a memory limit.
            let mut memory = vec![0_u8; megabytes.parse::<usize>().unwrap() << 20];
            memory.iter_mut().step_by(4096).for_each(|b| *b = 1);
            println!("holds {}", memory.iter().map(|b| usize::from(*b)).sum::<usize>());
            std::thread::sleep(Duration::from_secs(60));
        }
        _ => panic!("usage: pods relay LISTEN TARGET | send TO SERVICE FIRST SECONDS PAUSE_MS | hold MEGABYTES"),
    }
}
