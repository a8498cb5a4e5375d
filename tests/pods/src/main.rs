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
        ["send", to, service, first, seconds, pause] => {
            let lasting = Duration::from_secs_f64(seconds.parse().unwrap());
            let pause = Duration::from_millis(pause.parse().unwrap());
            let sent = load::send(to, service, first.parse().unwrap(), lasting, pause);
            println!("acknowledged {} refused {}", sent.acknowledged, sent.refused);
        }
        ["hold", megabytes] => {
            // Uses memory, page by page, and then waits: this tests a memory limit.
            let mut held = vec![0_u8; megabytes.parse::<usize>().unwrap() << 20];
            held.iter_mut().step_by(4096).for_each(|b| *b = 1);
            println!("holds {}", held.iter().map(|b| usize::from(*b)).sum::<usize>());
            std::thread::sleep(Duration::from_secs(60));
        }
        _ => panic!("usage: pods relay LISTEN TARGET | send TO SERVICE FIRST SECONDS PAUSE_MS | hold MEGABYTES"),
    }
}
