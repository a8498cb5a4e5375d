//! The network of a cluster: nodes are network namespaces on a bridge, pods are network namespaces on their node's
//! bridge. It assigns addresses and runs nothing in the namespaces.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// The address of the machine that runs the tests, as the nodes see it; ClusterIPs are routed to it too.
pub(crate) const MACHINE_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);
/// The address of the name server.
pub(crate) const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The addresses of one cluster.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) nodes: Vec<Node>,
    next_pod: AtomicU32,
    next_service: AtomicU8,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    subnet: u8,
    next: AtomicU8,
}

/// The network namespace and address of a pod.
#[derive(Clone, Debug)]
pub(crate) struct PodNetwork {
    /// The name of the network namespace.
    pub(crate) namespace: String,
    pub(crate) address: Ipv4Addr,
}

impl Network {
    /// Makes bridges, nodes and routes, in the namespace of the caller.
    pub(crate) fn new(count: u8) -> Self {
        run_script("mkdir -p /run/netns && mount -t tmpfs none /run/netns && echo 1 > /proc/sys/net/ipv4/ip_forward");
        let nodes: Vec<Node> = (0..count)
            .map(|n| Node {
                name: format!("node-{n}"),
                address: Ipv4Addr::new(172, 30, 0, 10 + n),
                subnet: n + 1,
                next: AtomicU8::new(2),
            })
            .collect();
        // A bridge without a configured MAC address takes the lowest of its ports' addresses, so that every new pod may
        // change it, and neighbours that have the old one cached lose contact for half a minute.
        let mut script = format!(
            "link set lo up\naddr add {DNS_ADDRESS}/32 dev lo\nlink add lan address 02:00:00:00:01:00 type bridge\naddr add {MACHINE_ADDRESS}/24 dev lan\nlink set lan up\n"
        );
        for node in &nodes {
            let Node { name, address, subnet, .. } = node;
            let _ = write!(
                script,
                "netns add {name}\nlink add n{subnet} type veth peer name eth0 netns {name}\n\
                 link set n{subnet} master lan up\nroute add 10.244.{subnet}.0/24 via {address}\n"
            );
        }
        // A route needs its device up, which the batch for the other end does.
        let (links, routes): (Vec<&str>, Vec<&str>) = script.lines().partition(|l| !l.starts_with("route"));
        run_ip(None, &links.join("\n"));
        for node in &nodes {
            let Node { name, address, subnet, .. } = node;
            let mut script = format!(
                "link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nlink add cni0 address 02:00:00:00:02:00 type bridge\n\
                 addr add 10.244.{subnet}.1/24 dev cni0\nlink set cni0 up\nroute add default via {MACHINE_ADDRESS}\n"
            );
            for other in nodes.iter().filter(|o| o.subnet != *subnet) {
                let _ = writeln!(script, "route add 10.244.{}.0/24 via {}", other.subnet, other.address);
            }
            run_ip(Some(name), &script);
            run_script(&format!("nsenter --net=/run/netns/{name} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"));
        }
        run_ip(None, &routes.join("\n"));
        Self { nodes, next_pod: AtomicU32::new(1), next_service: AtomicU8::new(20) }
    }

    /// A network namespace for a pod: the node's own if it asks for the host's network.
    pub(crate) fn create_pod_network(&self, node: usize, host_network: bool) -> PodNetwork {
        let node = &self.nodes[node];
        if host_network {
            return PodNetwork { namespace: node.name.clone(), address: node.address };
        }
        let number = self.next_pod.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("pod-{number}");
        let host = node.next.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::new(10, 244, node.subnet, host);
        run_ip(None, &format!("netns add {namespace}\n"));
        run_ip(
            Some(&node.name),
            &format!(
                "link add v{number} type veth peer name eth0 netns {namespace}\nlink set v{number} master cni0 up\n"
            ),
        );
        let subnet = node.subnet;
        run_ip(
            Some(&namespace),
            &format!(
                "link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via 10.244.{subnet}.1\n"
            ),
        );
        PodNetwork { namespace, address }
    }

    /// An address for a service, which is routed to the caller's namespace.
    pub(crate) fn cluster_ip(&self) -> Ipv4Addr {
        let address = Ipv4Addr::new(10, 96, 0, self.next_service.fetch_add(1, Ordering::Relaxed));
        run_ip(None, &format!("addr add {address}/32 dev lo\n"));
        address
    }

    /// The node that an address belongs to.
    pub(crate) fn node_of(&self, address: Ipv4Addr) -> Option<usize> {
        self.nodes.iter().position(|n| n.address == address || (address.octets()[..3] == [10, 244, n.subnet]))
    }
}

/// Deletes a pod's network namespace, unless it is the node's.
pub(crate) fn delete_pod_network(network: &PodNetwork) {
    if network.namespace.starts_with("pod-") {
        let _ = Command::new("ip").args(["netns", "del", &network.namespace]).status();
    }
}

fn run_ip(namespace: Option<&str>, script: &str) {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    let mut child = command.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let done = child.wait().unwrap();
    assert!(done.success(), "ip {namespace:?}: {done}\n{script}");
}

fn run_script(script: &str) {
    let done = Command::new("sh").args(["-ec", script]).status().unwrap();
    assert!(done.success(), "{script}: {done}");
}
