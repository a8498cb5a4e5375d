//! Files and UDP through the loop of the real world.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{
    Budget, Cx, DatagramSocket, Event, Graph, GraphBuilder, JobResult, Logger, MonotonicTime, NoopLogSink, Outcome,
    PRIVATE_FILE, PipelineInput, Receiver, StartError,
};
use otelcore_reactor::{EventLoop, RealWorld};

/// Writes each datagram that it receives durably to a file, and answers with the length of the file.
struct Recorder {
    path: PathBuf,
    socket: Option<Box<dyn DatagramSocket>>,
    job: Option<(JobResult<std::io::Result<u64>>, SocketAddr)>,
    recorded: Rc<RefCell<Vec<u64>>>,
}

const SOCKET: u64 = 1;
const FILE: u64 = 2;

impl Receiver for Recorder {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let mut socket = cx.bind_udp(SOCKET, "127.0.0.1", 0)?;
        // A datagram to itself.
        let own = socket.local_addr().parse().unwrap();
        // In a trial start, nothing is sent.
        let _ = socket.send_to(b"first", own);
        self.socket = Some(socket);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {
        let Some(socket) = &mut self.socket else { return };
        if local == FILE {
            let Some((job, peer)) = self.job.take() else { return };
            self.recorded.borrow_mut().push(job.take().unwrap().unwrap());
            if self.recorded.borrow().len() < 3 {
                socket.send_to(b"more", peer).unwrap();
            }
        }
        let mut buffer = [0; 100];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let (path, data) = (self.path.clone(), buffer[..length].to_vec());
            let append = move |files: &mut dyn otelcore_pipeline::FileSystem| {
                if files.metadata(&path).is_err() {
                    files.create_file(&path, PRIVATE_FILE)?;
                }
                let length = files.append(&path, &[&data])?;
                files.sync_file(&path).map(|()| length)
            };
            self.job = Some((cx.run_file_job(FILE, append).unwrap(), peer));
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {
        self.socket = None;
    }

    fn is_closed(&self) -> bool {
        self.socket.is_none()
    }
}

fn recorder(path: &std::path::Path) -> (Graph, Rc<RefCell<Vec<u64>>>) {
    let recorded = Rc::<RefCell<Vec<u64>>>::default();
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)));
    let receiver = Recorder { path: path.to_owned(), socket: None, job: None, recorded: recorded.clone() };
    builder.add_receiver("test".parse().unwrap(), Box::new(receiver));
    (builder.build(), recorded)
}

#[test]
fn datagram_is_received_and_recorded_in_a_file_by_the_loop() {
    let path = std::env::temp_dir().join(format!("otelcore-world-{}", otelcore_reactor::uuid()));
    let (mut graph, recorded) = recorder(&path);
    let mut world = RealWorld::new().unwrap();
    graph.start(&mut world).unwrap();
    let mut event_loop = EventLoop::new(world, graph);
    for _ in 0..1000 {
        if recorded.borrow().len() == 3 {
            break;
        }
        let deadline = event_loop.now() + Duration::from_millis(100);
        event_loop.turn(deadline, &mut Vec::new()).unwrap();
    }
    assert_eq!(*recorded.borrow(), [5, 9, 13]);
    assert_eq!(std::fs::read(&path).unwrap(), b"firstmoremore");
    std::fs::remove_file(&path).unwrap();
    let (other, _) = recorder(&path);
    event_loop.try_start(other).unwrap();
}
