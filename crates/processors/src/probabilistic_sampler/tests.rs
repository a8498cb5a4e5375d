use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::Signal;
use prost::Message;

use super::ProbabilisticSamplerFactory;
use crate::testing::{Started, messages, request};

#[test]
fn share_of_traces_is_about_the_percentage_and_the_same_for_equal_seeds() {
    let spans = |n: u64| {
        let id = |n: u64| [n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n.wrapping_mul(0xbf58_476d_1ce4_e5b9)];
        let span = |n| Span { trace_id: id(n).iter().flat_map(|it| it.to_be_bytes()).collect(), ..Span::default() };
        request(&[], (1..=n).map(span).collect()).encode_to_vec()
    };
    for mode in ["hash_seed", "equalizing", "proportional"] {
        let yaml = format!("{{sampling_percentage: 25, mode: {mode}}}");
        let mut first = Started::new(&ProbabilisticSamplerFactory, &yaml, Signal::Traces);
        let sampled = first.process(spans(4000));
        let name = "otelcol_processor_probabilistic_sampler_count_traces_sampled";
        let count = first.metric(name, &[("sampled", "true")]);
        assert!((900.0..1100.0).contains(&count), "{mode}: {count}");
        assert_eq!(first.metric(name, &[]), 4000.0);
        // A second sampler at the same percentage, behind it: all of them again, unless it is to take a share of those.
        let mut second = Started::new(&ProbabilisticSamplerFactory, &yaml, Signal::Traces);
        second.process(sampled[0].to_vec());
        let again = second.metric(name, &[("sampled", "true")]);
        match mode {
            "equalizing" => assert_eq!(again, count),
            "proportional" => assert!((190.0..310.0).contains(&again), "{again}"),
            // The tracestate has randomness now, which this mode refuses.
            _ => assert_eq!(again, 0.0),
        }
    }
}

#[test]
fn payload_of_which_nothing_is_sampled_is_delivered() {
    let mut it = Started::new(&ProbabilisticSamplerFactory, "{}", Signal::Traces);
    assert!(it.process(request(&[], vec![Span::default()]).encode_to_vec()).is_empty());
    assert!(format!("{:?}", it.test.take_outcomes()).contains("Delivered"));
}

#[test]
fn mistakes_have_the_path_of_their_key() {
    for (yaml, expected) in [
        ("sampling_percentage: -1", "sampling_percentage: sampling rate is negative: -1.000000%"),
        ("sampling_percentage: 1e-20", "sampling_percentage: sampling rate is too small: 1e-20%"),
        ("sampling_percentage: .inf", "sampling_percentage: sampling rate is invalid: +Inf%"),
        ("mode: x", "mode: unsupported sampler mode \"x\""),
        ("attribute_source: x", "attribute_source: invalid attribute source: x. Expected: traceID or record"),
        ("sampling_precision: 0", "sampling_precision: invalid sampling precision: 0"),
        ("sampling_precision: 15", "sampling_precision: sampling precision is too great, should be <= 14: 15"),
    ] {
        let found = messages(&ProbabilisticSamplerFactory, yaml);
        assert!(found.iter().any(|message| message.ends_with(expected)), "{found:?}");
    }
}
