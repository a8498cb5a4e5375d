//! TCP relays, used for kube-proxy and for hostPorts. Each connection is relayed to a target that `pick` returns for
//! it.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Serves a listener until the process ends; a connection without a target is closed.
pub fn serve(listener: &TcpListener, pick: impl Fn(SocketAddr) -> Vec<SocketAddr>) {
    for client in listener.incoming().flatten() {
        let Ok(from) = client.peer_addr() else { continue };
        let targets = pick(from);
        thread::spawn(move || {
            let connected = targets.iter().find_map(|t| TcpStream::connect_timeout(t, Duration::from_secs(1)).ok());
            let Some(target) = connected else { return };
            let _ = client.set_nodelay(true);
            let _ = target.set_nodelay(true);
            if let (Ok(client_too), Ok(target_too)) = (client.try_clone(), target.try_clone()) {
                thread::spawn(move || copy(&client_too, &target_too));
                copy(&target, &client);
            }
        });
    }
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    // One end has closed: the other end gets the end of the stream, and nothing more is read from this one.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
