//! TCP relays, used for kube-proxy and for hostPorts. Each connection is relayed to a target that `targets_for` returns
//! for it.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Serves a listener until the process ends; a connection without a target is closed.
pub fn serve(listener: &TcpListener, targets_for: impl Fn(SocketAddr) -> Vec<SocketAddr>) {
    for client in listener.incoming().flatten() {
        let Ok(client_address) = client.peer_addr() else { continue };
        let targets = targets_for(client_address);
        thread::spawn(move || {
            let connected = targets.iter().find_map(|t| TcpStream::connect_timeout(t, Duration::from_secs(1)).ok());
            let Some(target) = connected else { return };
            let _ = client.set_nodelay(true);
            let _ = target.set_nodelay(true);
            if let (Ok(client_clone), Ok(target_clone)) = (client.try_clone(), target.try_clone()) {
                thread::spawn(move || copy_and_close(&client_clone, &target_clone));
                copy_and_close(&target, &client);
            }
        });
    }
}

fn copy_and_close(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    // One end has closed: the other end gets the end of the stream, and nothing more is read from this one.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
