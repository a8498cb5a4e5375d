//! Brokers of Apache Kafka, from jars that `scripts/kafka` fetches, and Kafka's own tools.
#![allow(dead_code, reason = "not every test that has a broker uses all of it")]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::*;

/// The encodings that exporters and receivers are tested with, each with a signal.
pub(crate) const ENCODINGS: [(&str, &str); 11] = [
    ("traces", "otlp_proto"),
    ("traces", "otlp_json"),
    ("traces", "jaeger_proto"),
    ("traces", "jaeger_json"),
    ("traces", "zipkin_proto"),
    ("traces", "zipkin_json"),
    ("logs", "otlp_proto"),
    ("logs", "otlp_json"),
    ("logs", "raw"),
    ("metrics", "otlp_proto"),
    ("metrics", "otlp_json"),
];

/// A broker, alone or one of several.
pub(crate) struct Kafka {
    /// The process of the broker.
    pub process: Process,
    /// Its files.
    pub dir: PathBuf,
    /// The port without authentication.
    pub plain: u16,
    /// The port with SASL.
    pub sasl: u16,
    /// Runs the broker: nothing, or a program that enters namespaces.
    wrapper: Vec<String>,
    /// Of a release that needs it.
    zookeeper: Option<Process>,
}

/// Whether the brokers are of this release. `scripts/kafka` says which one they are of.
fn is_release(start: &str) -> bool {
    std::env::var("OTELCORE_KAFKA_VERSION").is_ok_and(|version| version.starts_with(start))
}

/// Whether the brokers have users for SCRAM: those of 2.8 have none before they run.
pub(crate) fn has_scram() -> bool {
    !is_release("2.")
}

/// A program of Kafka's jars.
pub(crate) fn java(main: &str) -> Command {
    java_under(&[], main)
}

fn java_under(wrapper: &[String], main: &str) -> Command {
    let libs = std::env::var("OTELCORE_KAFKA_LIBS").expect("scripts/kafka runs this");
    let mut words = wrapper.iter().map(String::as_str).chain(["java"]);
    let mut command = Command::new(words.next().unwrap_or("java"));
    command.args(words).args([
        "-Xmx384m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        &format!("{libs}/*"),
        main,
    ]);
    command
}

/// The class of a tool, which other releases have elsewhere.
fn tool_class(present: &'static str) -> &'static str {
    match present {
        "org.apache.kafka.tools.ConsoleProducer" if !is_release("4.") => "kafka.tools.ConsoleProducer",
        "org.apache.kafka.tools.consumer.ConsoleConsumer" if is_release("2.") => "kafka.tools.ConsoleConsumer",
        "org.apache.kafka.tools.TopicCommand" if is_release("2.") => "kafka.admin.TopicCommand",
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand" if is_release("2.") => {
            "kafka.admin.ConsumerGroupCommand"
        }
        other => other,
    }
}

/// How brokers are started.
#[derive(Default)]
pub(crate) struct Options<'a> {
    /// More lines of the properties.
    pub properties: &'a str,
    /// The folder of the log, if it is not one of the test.
    pub log_dir: Option<PathBuf>,
    /// See [`Kafka`].
    pub wrapper: Vec<String>,
    /// More listeners, each with its security protocol and its port.
    pub listeners: &'a [(&'a str, &'a str, u16)],
}

impl Kafka {
    /// Starts a broker with an empty log.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, &Options::default())
    }

    /// Starts a broker with an empty log and these options.
    pub(crate) fn start_with(name: &str, options: &Options<'_>) -> Self {
        let dir = empty_test_dir(name);
        let controller = free_port();
        let mut kafka = Self::prepare(&dir, 1, &[controller], options);
        kafka.wait_until_up();
        kafka
    }

    /// Starts so many brokers, each of which is a controller too.
    pub(crate) fn start_cluster(name: &str, count: usize) -> Vec<Self> {
        let dir = empty_test_dir(name);
        let controllers: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let start = |index: usize| {
            let dir = dir.join(format!("broker-{}", index + 1));
            std::fs::create_dir_all(&dir).unwrap();
            Self::prepare(&dir, index + 1, &controllers, &Options::default())
        };
        let mut brokers: Vec<Self> = (0..count).map(start).collect();
        brokers.iter_mut().for_each(Self::wait_until_up);
        brokers
    }

    /// Writes the properties, formats the log and starts the process.
    fn prepare(dir: &Path, id: usize, controllers: &[u16], options: &Options<'_>) -> Self {
        let [plain, sasl] = [free_port(), free_port()];
        let data = options.log_dir.clone().unwrap_or_else(|| dir.join("data"));
        let controller = controllers[id - 1];
        let (mut listeners, mut protocols) = (String::new(), String::new());
        for (name, protocol, port) in options.listeners {
            listeners.push_str(&format!(",{name}://127.0.0.1:{port}"));
            protocols.push_str(&format!(",{name}:{protocol}"));
        }
        let replicas = controllers.len();
        let common = format!(
            "advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl}{listeners}
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"secret\";
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
             unsecuredLoginStringClaim_sub=\"broker\";
log.dirs={}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=5
transaction.state.log.replication.factor={replicas}
num.partitions=3
group.initial.rebalance.delay.ms=0
{}
",
            data.display(),
            options.properties,
        );
        let sockets = format!("PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl}{listeners}");
        let map = format!("PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT{protocols}");
        let uses_zookeeper = is_release("2.");
        let properties = if uses_zookeeper {
            format!(
                "broker.id={id}\nzookeeper.connect=127.0.0.1:{controller}\nzookeeper.session.timeout.ms=2000\n\
                 listeners={sockets}\n\
                 listener.security.protocol.map={map}\n{common}"
            )
        } else {
            let voters: Vec<String> =
                controllers.iter().enumerate().map(|(at, port)| format!("{}@127.0.0.1:{port}", at + 1)).collect();
            format!(
                "process.roles=broker,controller\nnode.id={id}\ncontroller.quorum.voters={}\n\
                 listeners={sockets},CONTROLLER://127.0.0.1:{controller}\ncontroller.listener.names=CONTROLLER\n\
                 broker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=4000\nmetadata.log.dir={}\n\
                 listener.security.protocol.map=CONTROLLER:PLAINTEXT,{map}\n{common}",
                voters.join(","),
                dir.join("metadata").display(),
            )
        };
        let file = dir.join("server.properties");
        std::fs::write(&file, properties).unwrap();
        let zookeeper = uses_zookeeper.then(|| start_zookeeper(dir, controller));
        if !uses_zookeeper {
            let mut format = java_under(&options.wrapper, "kafka.tools.StorageTool");
            format.args(["format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c"]).arg(&file);
            for hash in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                format.args(["--add-scram", &format!("{hash}=[name=alice,password=secret]")]);
            }
            checked(&mut format);
        }
        let process = Self::run(dir, &options.wrapper);
        Self { process, dir: dir.to_owned(), plain, sasl, wrapper: options.wrapper.clone(), zookeeper }
    }

    /// Starts the process.
    fn run(dir: &Path, wrapper: &[String]) -> Process {
        let mut command = java_under(wrapper, "kafka.Kafka");
        Process::start(command.arg(dir.join("server.properties")), &dir.join("kafka.log"))
    }

    /// After a kill a broker is not let in before its last session is over.
    fn wait_until_up(&mut self) {
        let end = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(self.address()).is_err() {
            let has_ended = self.process.child.try_wait().unwrap();
            assert!(has_ended.is_none() && Instant::now() < end, "the broker is not up: {}", self.process.log_text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the process by this signal and waits for its end.
    pub(crate) fn end(&mut self, signal: &str) {
        self.process.signal(signal);
        self.process.wait_for_exit(Duration::from_secs(60));
    }

    /// Starts the process again, and waits until it listens.
    pub(crate) fn restart(&mut self) {
        if self.zookeeper.is_some() {
            // Until the session of the last process is over there, a new one ends at once.
            std::thread::sleep(Duration::from_secs(5));
        }
        self.process = Self::run(&self.dir, &self.wrapper);
        self.wait_until_up();
    }

    /// Its address for clients.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.plain)
    }

    /// A tool of Kafka that talks to this broker.
    pub(crate) fn tool(&self, main: &'static str) -> Command {
        let mut command = java(tool_class(main));
        command.args(["--bootstrap-server", &self.address()]);
        command
    }

    /// Reads so many messages of a topic from the beginning, with keys, headers and partitions.
    pub(crate) fn consume(&self, topic: &str, count: usize) -> Vec<String> {
        self.consume_with(topic, count, &[])
    }

    /// The same; what is not a printable character is written as `\x` and two digits.
    pub(crate) fn consume_bytes(&self, topic: &str, count: usize) -> Vec<String> {
        const BYTES: &str = "org.apache.kafka.common.serialization.BytesDeserializer";
        let properties = [format!("key.deserializer={BYTES}"), format!("value.deserializer={BYTES}")];
        self.consume_with(topic, count, &[&properties[0], &properties[1]])
    }

    /// How many messages each topic has.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let output = checked(&mut self.tool("org.apache.kafka.tools.GetOffsetShell"));
        let mut counts = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut fields = line.split(':');
            let (topic, count) =
                (fields.next().unwrap_or(""), fields.nth(1).and_then(|count| count.parse::<usize>().ok()));
            *counts.entry(topic.to_owned()).or_default() += count.unwrap_or(0);
        }
        counts
    }

    fn consume_with(&self, topic: &str, count: usize, properties: &[&str]) -> Vec<String> {
        let mut command = self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
        command.args(["--topic", topic, "--from-beginning"]);
        command.args(["--max-messages", &count.to_string(), "--timeout-ms", "20000"]);
        for property in ["print.key=true", "print.headers=true", "print.partition=true"].iter().chain(properties) {
            command.args(["--property", property]);
        }
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Makes a topic with so many partitions.
    pub(crate) fn create_topic(&self, topic: &str, partitions: usize) {
        self.create_topic_with(topic, partitions, 1, &[]);
    }

    /// Makes a topic with so many partitions and replicas, and these options.
    pub(crate) fn create_topic_with(&self, topic: &str, partitions: usize, replicas: usize, options: &[&str]) {
        let mut command = self.tool("org.apache.kafka.tools.TopicCommand");
        command.args(["--create", "--topic", topic, "--partitions", &partitions.to_string()]);
        checked(command.args(["--replication-factor", &replicas.to_string()]).args(options));
    }

    /// Adds partitions to a topic.
    pub(crate) fn grow_topic(&self, topic: &str, partitions: usize) {
        let mut command = self.tool("org.apache.kafka.tools.TopicCommand");
        checked(command.args(["--alter", "--topic", topic, "--partitions", &partitions.to_string()]));
    }

    /// What Kafka says of a topic: a line for each partition, with its leader and replicas.
    pub(crate) fn describe_topic(&self, topic: &str) -> String {
        let output = checked(self.tool("org.apache.kafka.tools.TopicCommand").args(["--describe", "--topic", topic]));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes the first replica of each partition its leader.
    pub(crate) fn elect_preferred_leaders(&self) {
        let mut command = self.tool("org.apache.kafka.tools.LeaderElectionCommand");
        checked(command.args(["--election-type", "preferred", "--all-topic-partitions"]));
    }

    /// Gives the partitions of a topic these replicas.
    pub(crate) fn reassign(&self, topic: &str, replicas: &[&[usize]]) {
        let partition = |(index, replicas): (usize, &&[usize])| {
            format!("{{\"topic\":\"{topic}\",\"partition\":{index},\"replicas\":{replicas:?}}}")
        };
        let partitions: Vec<String> = replicas.iter().enumerate().map(partition).collect();
        let file = self.dir.join("reassignment.json");
        std::fs::write(&file, format!("{{\"version\":1,\"partitions\":[{}]}}", partitions.join(","))).unwrap();
        let mut command = self.tool("org.apache.kafka.tools.reassign.ReassignPartitionsCommand");
        checked(command.arg("--execute").arg("--reassignment-json-file").arg(&file));
    }

    /// Writes lines as messages, with Kafka's own producer.
    pub(crate) fn produce(&self, topic: &str, lines: &str, options: &[&str]) {
        let mut command = self.tool("org.apache.kafka.tools.ConsoleProducer");
        command.args(["--topic", topic]);
        let mut child = command.args(options).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// What Kafka says of a group: a line for each partition, with the topic, its number, the committed offset, the end and the lag.
    pub(crate) fn describe_group(&self, group: &str) -> String {
        let mut command = self.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        String::from_utf8_lossy(&command.args(["--describe", "--group", group]).output().unwrap().stdout).into_owned()
    }

    /// The lag of a group over all partitions; `None` before each partition with messages is committed once.
    pub(crate) fn lag(&self, group: &str) -> Option<u64> {
        let text = self.describe_group(group);
        let of_partition = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields.get(4) == Some(&"0") { Some(0) } else { fields.get(5)?.parse::<u64>().ok() }
        };
        text.lines().filter(|line| line.starts_with(group)).map(of_partition).sum()
    }

    /// Waits until a group has read and committed everything.
    pub(crate) fn wait_for_no_lag(&self, group: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.lag(group) != Some(0) {
            assert!(Instant::now() < end, "{}", self.describe_group(group));
        }
    }
}

fn checked(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{err}");
    output
}

fn start_zookeeper(dir: &Path, port: u16) -> Process {
    let file = dir.join("zoo.cfg");
    let data = dir.join("zookeeper");
    let text = format!(
        "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\ntickTime=500\n",
        data.display()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = java("org.apache.zookeeper.server.quorum.QuorumPeerMain");
    let mut process = Process::start(command.arg(&file), &dir.join("zookeeper.log"));
    wait_for_listener(&format!("127.0.0.1:{port}"), &mut process);
    process
}
