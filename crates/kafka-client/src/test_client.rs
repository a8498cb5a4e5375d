//! The client of the tests, and a world in which it finds the brokers of a played cluster.

use std::rc::Rc;
use std::time::Duration;

use otelcore_testkit::TestWorld;

use crate::ClientConfig;

/// A world that has the addresses of the broker that [`client_config`] names and of the two of the cluster.
pub(crate) fn world() -> TestWorld {
    let mut world = TestWorld::new();
    for (host, last) in [("seed", 9), ("kafka-0", 10), ("kafka-1", 11)] {
        world.set_lookup_result(host, Ok(vec![[10, 0, 0, last].into()]));
    }
    world
}

pub(crate) fn client_config() -> Rc<ClientConfig> {
    Rc::new(ClientConfig {
        brokers: vec![("seed".to_owned(), 9092)],
        client_id: "test".to_owned(),
        protocol_version: None,
        tls: None,
        credentials: None,
        idle_timeout: Duration::from_secs(540),
        metadata_interval: Duration::from_secs(600),
        metadata_pause: Duration::from_millis(250),
    })
}
