//! A broker of Apache Kafka, from jars that `scripts/kafka` fetches, and Kafka's own tools.
#![allow(dead_code, reason = "not every test that has a broker uses all of it")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::*;

/// A broker in KRaft mode.
pub(crate) struct Kafka {
    /// The process of the broker.
    pub process: Process,
    /// Its files.
    pub dir: PathBuf,
    /// The port without authentication.
    pub plain: u16,
    /// The port with SASL.
    pub sasl: u16,
}

/// A program of Kafka's jars.
pub(crate) fn java(main: &str) -> Command {
    let libs = std::env::var("OTELCORE_KAFKA_LIBS").expect("scripts/kafka runs this");
    let mut command = Command::new("java");
    command.args(["-Xmx384m", "-cp", &format!("{libs}/*"), main]);
    command
}

impl Kafka {
    /// Starts a broker with an empty log.
    pub(crate) fn start(name: &str) -> Self {
        let dir = empty_test_dir(name);
        let [plain, controller, sasl] = [free_port(), free_port(), free_port()];
        let properties = format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SASL://127.0.0.1:{sasl}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"secret\";
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
log.dirs={}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
num.partitions=3
group.initial.rebalance.delay.ms=0
",
            dir.join("data").display()
        );
        let file = dir.join("server.properties");
        std::fs::write(&file, properties).unwrap();
        let mut format = java("kafka.tools.StorageTool");
        format.args(["format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c"]).arg(&file);
        for hash in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            format.args(["--add-scram", &format!("{hash}=[name=alice,password=secret]")]);
        }
        assert!(format.output().unwrap().status.success());
        let (process, plain, sasl) = Self::run(&dir, plain, sasl);
        Self { process, dir, plain, sasl }
    }

    /// Starts the process.
    pub(crate) fn run(dir: &Path, plain: u16, sasl: u16) -> (Process, u16, u16) {
        let mut command = java("kafka.Kafka");
        let mut process = Process::start(command.arg(dir.join("server.properties")), &dir.join("kafka.log"));
        wait_for_listener(&format!("127.0.0.1:{plain}"), &mut process);
        (process, plain, sasl)
    }

    /// Reads so many messages of a topic from the beginning, with keys, headers and partitions.
    pub(crate) fn consume(&self, topic: &str, count: usize) -> Vec<String> {
        let mut command = java("org.apache.kafka.tools.consumer.ConsoleConsumer");
        command.args([
            "--bootstrap-server",
            &format!("127.0.0.1:{}", self.plain),
            "--topic",
            topic,
            "--from-beginning",
        ]);
        command.args(["--max-messages", &count.to_string(), "--timeout-ms", "20000"]);
        for property in ["print.key=true", "print.headers=true", "print.partition=true"] {
            command.args(["--property", property]);
        }
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Makes a topic with so many partitions.
    pub(crate) fn create_topic(&self, topic: &str, partitions: usize) {
        let mut command = java("org.apache.kafka.tools.TopicCommand");
        command.args(["--bootstrap-server", &format!("127.0.0.1:{}", self.plain), "--create", "--topic", topic]);
        command.args(["--partitions", &partitions.to_string(), "--replication-factor", "1"]);
        assert!(command.output().unwrap().status.success());
    }

    /// Writes lines as messages, with Kafka's own producer.
    pub(crate) fn produce(&self, topic: &str, lines: &str, options: &[&str]) {
        let mut command = java("org.apache.kafka.tools.ConsoleProducer");
        command.args(["--bootstrap-server", &format!("127.0.0.1:{}", self.plain), "--topic", topic]);
        let mut child = command.args(options).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// What Kafka says of a group: a line for each partition, with the topic, its number, the committed offset, the end and the lag.
    pub(crate) fn describe_group(&self, group: &str) -> String {
        let mut command = java("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        command.args(["--bootstrap-server", &format!("127.0.0.1:{}", self.plain), "--describe", "--group", group]);
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }
}
