//! Components that use files and UDP in a simulated machine.

use std::io::{self, ErrorKind};
use std::path::Path;

use otelcore_pipeline::{DatagramDrops, DatagramSocket, FileSystem, PRIVATE_FILE};

use super::*;

/// Appends its records to `/log`, one a job, each synced, and counts those that are durable.
struct LogWriter {
    records: u8,
    written: u8,
    job: Option<JobResult<io::Result<()>>>,
    durable: Rc<RefCell<Vec<u8>>>,
}

const RECORD_BYTES: usize = 700;

fn append_record(files: &mut dyn FileSystem, record: u8) -> io::Result<()> {
    let path = Path::new("/log");
    match files.create_file(path, PRIVATE_FILE) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        created => created?,
    }
    files.append(path, &[&[record; RECORD_BYTES]])?;
    files.sync_file(path)?;
    files.sync_dir(Path::new("/"))
}

impl LogWriter {
    fn begin(&mut self, cx: &mut Cx<'_>) {
        let record = self.written + 1;
        if record <= self.records {
            self.job = Some(cx.run_file_job(1, move |files| append_record(files, record)).unwrap());
        }
    }
}

impl Receiver for LogWriter {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.begin(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {
        match self.job.as_ref().and_then(JobResult::take) {
            None => {}
            Some(Ok(())) => {
                self.written += 1;
                self.durable.borrow_mut().push(self.written);
                self.begin(cx);
            }
            // What was written of the record is unknown: it is written again as a whole.
            Some(Err(_)) => self.begin(cx),
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

fn log_writer(records: u8) -> (Graph, Rc<RefCell<Vec<u8>>>) {
    let durable = Rc::<RefCell<Vec<u8>>>::default();
    (graph(LogWriter { records, written: 0, job: None, durable: durable.clone() }), durable)
}

fn holds_records(content: &[u8], records: &[u8]) -> bool {
    let place = |record: &u8| content.windows(RECORD_BYTES).any(|bytes| bytes.iter().all(|b| b == record));
    records.iter().all(place)
}

#[test]
fn file_jobs_take_their_time_and_run_in_order() {
    let mut sim = Sim::new(1);
    let node = sim.add_machine("disk");
    let delay = (2 * MS, 2 * MS);
    sim.disk(node).set_faults(DiskFaults { delay, ..DiskFaults::default() });
    let (graph, durable) = log_writer(3);
    sim.restart(node, graph).unwrap();
    sim.run_for(Duration::from_millis(5));
    assert_eq!(*durable.borrow(), [1, 2]);
    sim.run_for(MS);
    assert_eq!(*durable.borrow(), [1, 2, 3]);
    assert_eq!(sim.disk(node).content("/log").unwrap().len(), 3 * RECORD_BYTES);
}

#[test]
fn durable_records_survive_a_crash_at_every_operation() {
    let mut seeds_with_loss = 0;
    for seed in 0..20 {
        for count in 0..16 {
            let mut sim = Sim::new(seed);
            let node = sim.add_machine("disk");
            sim.disk(node).crash_after(count);
            let (graph, durable) = log_writer(4);
            sim.restart(node, graph).unwrap();
            sim.run_for(Duration::from_secs(1));
            assert_eq!(sim.graph(node).is_none(), durable.borrow().len() < 4, "the crash ends the process");
            let content = sim.disk(node).content("/log").unwrap_or_default();
            assert!(holds_records(&content, &durable.borrow()), "seed {seed}, operation {count}");
            seeds_with_loss += usize::from(!content.len().is_multiple_of(RECORD_BYTES));
            // The machine starts again and goes on.
            let (graph, durable) = log_writer(2);
            sim.restart(node, graph).unwrap();
            sim.run_for(Duration::from_secs(1));
            assert_eq!(durable.borrow().len(), 2);
        }
    }
    assert!(seeds_with_loss > 5, "torn records are seen: {seeds_with_loss}");
}

#[test]
fn killed_process_leaves_its_files_and_a_crash_loses_what_was_not_synced() {
    let mut sim = Sim::new(2);
    let node = sim.add_machine("disk");
    let (graph, _) = log_writer(2);
    sim.restart(node, graph).unwrap();
    sim.run_for(Duration::from_secs(1));
    sim.disk(node).append(Path::new("/log"), &[b"unsynced"]).unwrap();
    sim.kill(node);
    assert_eq!(sim.disk(node).content("/log").unwrap().len(), 2 * RECORD_BYTES + 8);
    sim.crash(node);
    assert!(holds_records(&sim.disk(node).content("/log").unwrap(), &[1, 2]));
}

#[test]
fn file_jobs_above_the_limit_are_refused() {
    struct Flood(Rc<RefCell<(usize, usize)>>);
    impl Receiver for Flood {
        fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
            for _ in 0..100 {
                let begun = cx.run_file_job(1, |files| files.metadata(Path::new("/")).is_ok());
                let counts = &mut *self.0.borrow_mut();
                *if begun.is_ok() { &mut counts.0 } else { &mut counts.1 } += 1;
            }
            Ok(())
        }

        fn handle_event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {}
        fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
        fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

        fn is_closed(&self) -> bool {
            true
        }
    }
    let counts = Rc::<RefCell<(usize, usize)>>::default();
    let mut sim = Sim::new(1);
    sim.add_node("flood", graph(Flood(counts.clone()))).unwrap();
    assert_eq!(*counts.borrow(), (64, 36));
}

/// Sends datagrams to `peer`, or sends every one that it receives back.
struct Datagrams {
    peer: Option<SocketAddr>,
    count: u8,
    socket: Option<Box<dyn DatagramSocket>>,
    received: Rc<RefCell<Vec<u8>>>,
    drops: Rc<RefCell<DatagramDrops>>,
}

impl Receiver for Datagrams {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let port = if self.peer.is_some() { 0 } else { 8125 };
        let mut socket = cx.bind_udp(0, "", port)?;
        for number in 0..self.count {
            socket.send_to(&[number; 100], self.peer.unwrap()).unwrap();
        }
        self.socket = Some(socket);
        Ok(())
    }

    fn handle_event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {
        let Some(socket) = &mut self.socket else { return };
        let mut buffer = [0; 100];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            self.received.borrow_mut().push(buffer[0]);
            if self.peer.is_none() {
                socket.send_to(&buffer[..length], peer).unwrap();
            }
        }
        *self.drops.borrow_mut() = socket.drops();
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {
        self.socket = None;
    }

    fn is_closed(&self) -> bool {
        self.socket.is_none()
    }
}

fn datagrams(peer: Option<SocketAddr>, count: u8) -> (Graph, Rc<RefCell<Vec<u8>>>) {
    let received = Rc::<RefCell<Vec<u8>>>::default();
    (graph(Datagrams { peer, count, socket: None, received: received.clone(), drops: Rc::default() }), received)
}

#[test]
fn datagrams_arrive_in_any_order_and_are_lost_as_set() {
    let run = |loss, cut| {
        let mut sim = Sim::new(7);
        sim.set_datagram_loss(loss);
        let (echo, at_server) = datagrams(None, 0);
        let server = sim.add_node("server", echo).unwrap();
        let peer = SocketAddr::new(sim.address(server), 8125);
        if cut {
            // The client is the next machine.
            let client = sim.add_machine("client");
            sim.partition(server, client);
            let (client_graph, _) = datagrams(Some(peer), 100);
            sim.restart(client, client_graph).unwrap();
            sim.run_for(Duration::from_secs(1));
            sim.heal(server, client);
            sim.run_for(Duration::from_secs(1));
            let at_server = at_server.borrow().clone();
            return (at_server, Vec::new());
        }
        let (client_graph, back) = datagrams(Some(peer), 100);
        sim.add_node("client", client_graph).unwrap();
        sim.run_for(Duration::from_secs(1));
        let (at_server, back) = (at_server.borrow().clone(), back.borrow().clone());
        (at_server, back)
    };
    let (at_server, back) = run(0, false);
    assert_eq!((at_server.len(), back.len()), (100, 100));
    assert!(!at_server.is_sorted(), "they overtake each other");
    let (at_server, back) = run(300, false);
    assert!((50..90).contains(&at_server.len()) && back.len() < at_server.len(), "{} {}", at_server.len(), back.len());
    assert_eq!(run(0, true).0, [0; 0], "a partition loses them");
}

#[test]
fn udp_port_in_use_is_refused() {
    let mut sim = Sim::new(1);
    let mut two = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)));
    for name in ["a", "b"] {
        let receiver = Datagrams { peer: None, count: 0, socket: None, received: Rc::default(), drops: Rc::default() };
        two.add_receiver(name.parse().unwrap(), Box::new(receiver));
    }
    let refused = sim.add_node("two", two.build()).unwrap_err();
    assert!(refused.to_string().ends_with("listen udp [::]:8125: bind: address already in use"), "{refused}");
}
