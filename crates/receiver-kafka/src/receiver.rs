//! The receiver: a consumer for each signal of its pipelines. Gives events and outcomes to the one that they are for.

use std::rc::Rc;

use otelcore_go_regexp::GoRegexp;
use otelcore_kafka_client::{GroupConsumer, GroupConsumerConfig, InitialOffset, TopicSelection};
use otelcore_pipeline::{BuildContext, Cx, Event, MonotonicTime, Outcome, PipelineInput, Receiver, StartError};

use crate::config::{KafkaReceiverConfig, TopicEncodingConfig};
use crate::consumer::SignalConsumer;
use crate::decode::{MessageDecoder, MessageEncoding};

/// Members have this time to join again, or to give partitions up, in a rebalance, as in the Go receiver.
const REBALANCE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(crate) struct KafkaReceiver {
    consumers: Vec<SignalConsumer>,
}

impl KafkaReceiver {
    pub(crate) fn new(config: &KafkaReceiverConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let client = Rc::new(config.connection.client_config(context)?);
        let config = Rc::new(config.clone());
        let mut consumers = Vec::new();
        for (part, signal) in (1..).zip(context.signals) {
            let topics = config.signal(*signal);
            let consumer = GroupConsumer::new(client.clone(), group_config(&config, topics)?, context.log.clone());
            let encoding = MessageEncoding::parse(*signal, &topics.encoding).map_err(StartError::Config)?;
            let headers = config.header_extraction.headers.iter().filter(|_| config.header_extraction.extract_headers);
            let headers = headers.map(|name| (name.clone(), format!("kafka.header.{name}").into_bytes())).collect();
            let decoder = MessageDecoder { signal: *signal, encoding, headers };
            consumers.push(SignalConsumer::new(part, consumer, decoder, config.clone(), context));
        }
        Ok(Self { consumers })
    }

    /// The consumer of a part. Parts are numbered from 1 on.
    fn consumer(&mut self, part: u32) -> Option<&mut SignalConsumer> {
        self.consumers.get_mut(usize::try_from(part).ok()?.checked_sub(1)?)
    }

    fn parts(&mut self) -> impl Iterator<Item = (u32, &mut SignalConsumer)> {
        (1..).zip(&mut self.consumers)
    }
}

fn group_config(config: &KafkaReceiverConfig, topics: &TopicEncodingConfig) -> Result<GroupConsumerConfig, StartError> {
    let size = |bytes: i64| i32::try_from(bytes).unwrap_or(i32::MAX);
    Ok(GroupConsumerConfig {
        group_id: config.group_id.clone(),
        group_instance_id: Some(config.group_instance_id.clone()).filter(|id| !id.is_empty()),
        topics: selection(topics)?,
        protocol: config.protocol(),
        assignors: config.assignors(),
        session_timeout: config.session_timeout,
        rebalance_timeout: REBALANCE_TIMEOUT,
        heartbeat_interval: config.heartbeat_interval,
        initial_offset: match config.initial_offset.as_str() {
            "earliest" => InitialOffset::Earliest,
            _ => InitialOffset::Latest,
        },
        commit_interval: config.autocommit.enable.then_some(config.autocommit.interval),
        min_fetch_bytes: size(config.min_fetch_size),
        max_fetch_bytes: size(config.max_fetch_size),
        max_partition_bytes: size(config.max_partition_fetch_size),
        max_fetch_wait: config.max_fetch_wait,
        rack_id: config.rack_id.clone(),
        uses_leader_epoch: config.use_leader_epoch,
    })
}

fn selection(topics: &TopicEncodingConfig) -> Result<TopicSelection, StartError> {
    if !topics.has_patterns() {
        return Ok(TopicSelection::Names(topics.topics.clone()));
    }
    let compile = |patterns: &[String]| -> Result<Vec<GoRegexp>, StartError> {
        let compile =
            |pattern: &String| GoRegexp::compile(pattern).map_err(|error| StartError::Config(error.to_string()));
        patterns.iter().map(compile).collect()
    };
    let (wanted, excluded) = (compile(&topics.topics)?, compile(&topics.exclude_topics)?);
    Ok(TopicSelection::Matching(Rc::new(move |name| {
        let matches = |all: &[GoRegexp]| all.iter().any(|pattern| pattern.is_match(name.as_bytes()));
        matches(&wanted) && !matches(&excluded)
    })))
}

impl Receiver for KafkaReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.parts().try_for_each(|(part, consumer)| consumer.open(&mut cx.for_part(part)))
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        let (part, local) = Cx::part_of(local);
        if let Some(consumer) = self.consumer(part) {
            consumer.handle_event(&mut cx.for_part(part), local, &event, input);
        }
    }

    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome) {
        let (part, number) = Cx::part_of(request);
        if let Some(consumer) = self.consumer(part) {
            consumer.settled(&mut cx.for_part(part), number, outcome);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime) {
        self.parts().for_each(|(part, consumer)| consumer.close(&mut cx.for_part(part), deadline));
    }

    fn is_closed(&self) -> bool {
        self.consumers.iter().all(SignalConsumer::is_closed)
    }

    fn held_items(&self) -> u64 {
        self.consumers.iter().map(SignalConsumer::held_items).sum()
    }
}
