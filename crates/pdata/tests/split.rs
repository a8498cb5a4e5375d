//! Cuts large bodies: how much work that is, and how large the pieces are. Work is counted, not timed.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use bytes::Bytes;
use otelcore_pdata::wire_format::{MessageFields, WireValue, put_bytes_field, put_varint_field};
use otelcore_pdata::{PieceLimit, Rope, Signal, Splitter, StepBudget, check};

fn len_field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes_field(&mut out, number, content);
    out
}

/// A name, the signal, and a function that makes bodies of about the given number of bytes in total.
type Input = (&'static str, Signal, fn(usize) -> Vec<Vec<u8>>);

/// A resource or scope with an unknown field of `len` bytes.
fn wrapper(len: usize) -> Vec<u8> {
    len_field(1, &len_field(31, &vec![0xff; len]))
}

fn scope_with_items(items: usize, item: &[u8]) -> Vec<u8> {
    len_field(2, &len_field(2, item).repeat(items))
}

/// Forms of bodies that a peer may send.
const INPUTS: [Input; 13] = [
    ("many empty items", Signal::Traces, |n| vec![len_field(1, &scope_with_items(n / 2, b""))]),
    ("few huge items", Signal::Logs, |n| vec![len_field(1, &scope_with_items(8, &len_field(3, &vec![b'x'; n / 8])))]),
    ("an entry for each item", Signal::Traces, |n| vec![len_field(1, &scope_with_items(1, b"")).repeat(n / 8)]),
    ("a scope for each item", Signal::Traces, |n| vec![len_field(1, &scope_with_items(1, b"").repeat(n / 6))]),
    ("a part for each item", Signal::Logs, |n| vec![len_field(1, &scope_with_items(1, b"")); n / 8]),
    ("many points of one metric", Signal::Metrics, |n| {
        let metric = [len_field(1, b"name"), len_field(7, &len_field(1, b"").repeat(n / 2))].concat();
        vec![len_field(1, &len_field(2, &len_field(2, &metric)))]
    }),
    ("a metric for each point", Signal::Metrics, |n| {
        vec![len_field(1, &len_field(2, &len_field(2, &len_field(5, &len_field(1, b""))).repeat(n / 6)))]
    }),
    ("empty scopes before the items", Signal::Traces, |n| {
        vec![len_field(1, &[len_field(2, b"").repeat(n / 4), scope_with_items(n / 4, b"")].concat())]
    }),
    ("empty scopes among the items", Signal::Traces, |n| {
        vec![len_field(1, &[len_field(2, b"").repeat(50), scope_with_items(1, b"")].concat().repeat(n / 106))]
    }),
    ("a huge resource and small items", Signal::Traces, |n| {
        vec![len_field(1, &[wrapper(n / 2), scope_with_items(n / 4, b"")].concat())]
    }),
    ("a huge scope, behind its items", Signal::Logs, |n| {
        vec![len_field(1, &len_field(2, &[len_field(2, b"").repeat(n / 4), wrapper(n / 2)].concat()))]
    }),
    ("a huge scope, a field after each item", Signal::Traces, |n| {
        vec![len_field(1, &len_field(2, &[len_field(2, b""), len_field(31, b"")].concat().repeat(n / 5)))]
    }),
    ("large resources with few items", Signal::Metrics, |n| {
        let metric = len_field(2, &[len_field(1, &[0xff; 500]), len_field(5, &len_field(1, b"").repeat(10))].concat());
        vec![len_field(1, &[wrapper(1500), len_field(2, &metric)].concat()).repeat(n / 2048)]
    }),
];

fn splitter(signal: Signal, parts: &[Vec<u8>]) -> Splitter {
    let mut splitter = Splitter::new(signal);
    for part in parts {
        let items = check(signal, part).unwrap().items;
        splitter.push(Rope::new(Bytes::copy_from_slice(part), items));
    }
    splitter
}

/// The pieces, the work of all steps, and the work of the longest step.
fn split_all(splitter: &mut Splitter, limit: PieceLimit, budget: u64) -> (Vec<Rope>, u64, u64) {
    let (mut pieces, mut all, mut longest) = (Vec::new(), 0, 0);
    while !splitter.is_empty() {
        // Pieces of the same step.
        let mut step_budget = StepBudget::new(budget);
        while !splitter.is_empty()
            && let Some(piece) = splitter.next_piece(limit, &mut step_budget)
        {
            pieces.push(piece);
        }
        all += step_budget.spent();
        longest = longest.max(step_budget.spent());
    }
    (pieces, all, longest)
}

#[test]
fn split_work_is_linear_in_the_bytes_for_every_shape() {
    for (name, signal, make) in INPUTS {
        for limit in [PieceLimit::items(1), PieceLimit::items(100), PieceLimit::items(8192), PieceLimit::bytes(4096)] {
            let [small, large] = [1 << 14, 1 << 17].map(|n| {
                let mut splitter = splitter(signal, &make(n));
                let items = splitter.items();
                let (pieces, work, _) = split_all(&mut splitter, limit, StepBudget::UNITS_PER_STEP);
                assert_eq!(pieces.iter().map(|p| u64::from(p.items())).sum::<u64>(), items, "{name}");
                let bytes = pieces.iter().map(Rope::len).sum::<usize>();
                assert!(bytes <= 20 * n + (1 << 20), "{name}, {limit:?}: {bytes} bytes of {n}");
                work / n as u64
            });
            // Units for each byte. A few are for each field and piece, up to sixteen for repeated wrappers.
            assert!(
                small < 1000 && large < 1000,
                "{name}, {limit:?}: {small} units a byte, {large} for eight times as many"
            );
        }
    }
}

#[test]
fn step_exceeds_its_budget_by_at_most_one_count() {
    const BUDGET: u64 = 200_000;
    // A count of 64 Ki fields, or one field that is copied into a wrapper.
    const MAX_EXCESS: u64 = (1 << 16) * StepBudget::UNITS_PER_FIELD + 1000;
    for (name, signal, make) in INPUTS {
        for limit in [PieceLimit::items(100), PieceLimit::bytes(100_000), PieceLimit::NONE] {
            let mut splitter = splitter(signal, &make(1 << 19));
            let (_, work, longest) = split_all(&mut splitter, limit, BUDGET);
            assert!(longest <= BUDGET + MAX_EXCESS, "{name}, {limit:?}: a step of {longest}, {work} in all");
        }
    }
}

#[test]
fn pieces_with_small_wrappers_have_exactly_the_limit() {
    for (name, signal, make) in INPUTS.into_iter().filter(|(name, ..)| !name.contains("huge")) {
        let mut splitter = splitter(signal, &make(1 << 15));
        let items = splitter.items();
        let (pieces, ..) = split_all(&mut splitter, PieceLimit::items(100), StepBudget::UNITS_PER_STEP);
        let sizes: Vec<_> = pieces.iter().map(Rope::items).collect();
        let (last, full) = sizes.split_last().unwrap();
        assert!(full.iter().all(|n| *n == 100) && *last > 0, "{name}: {sizes:?}");
        assert_eq!(sizes.len() as u64, items.div_ceil(100), "{name}");
    }
}

#[test]
fn repetition_of_a_huge_wrapper_is_bounded() {
    const N: usize = 1 << 20;
    let wrapper = wrapper(N / 2);
    let body = len_field(1, &[wrapper, scope_with_items(N / 4, b"")].concat());
    let mut splitter = splitter(Signal::Traces, std::slice::from_ref(&body));
    let (pieces, ..) = split_all(&mut splitter, PieceLimit::items(10), StepBudget::UNITS_PER_STEP);
    let bytes = pieces.iter().map(Rope::len).sum::<usize>();
    assert!(bytes < 20 * N, "{bytes} bytes of a body of {}", body.len());
    let exact = pieces.iter().take_while(|piece| piece.items() == 10).count();
    assert!(exact > 32, "{exact} pieces are exact");
    for piece in pieces.iter().skip(exact) {
        assert!(piece.items() as usize > N / 8, "then a piece is worth what it costs");
    }
}

#[test]
fn entries_that_fit_are_shared_and_not_copied() {
    let part = len_field(1, &scope_with_items(60, b"")).repeat(10);
    let body = Bytes::from(part);
    let mut splitter = Splitter::new(Signal::Logs);
    for _ in 0..3 {
        splitter.push(Rope::new(body.clone(), 600));
    }
    let mut take = |max| {
        let piece = splitter.next_piece(PieceLimit::items(max), &mut StepBudget::for_one_step()).unwrap();
        (
            piece.items(),
            piece.parts().iter().map(|part| part.bytes.clone()).collect::<Vec<_>>(),
            splitter.copied_bytes(),
        )
    };
    let range = body.as_ptr_range();
    let (items, parts, copied) = take(120);
    assert_eq!((items, parts.len(), copied), (120, 1, 0), "two entries, as one slice");
    assert!(range.contains(&parts[0].as_ptr()));
    let (items, parts, copied) = take(1080);
    assert_eq!((items, parts.len(), copied), (1080, 2, 0), "the rest of the first part, and the second");
    assert_eq!(parts[1].as_ptr(), body.as_ptr());
    let (items, parts, copied) = take(70);
    assert_eq!((items, parts.len()), (70, 2));
    assert_eq!((copied, parts[1].len()), (parts[1].len(), copied), "the entry that did not fit is copied");
    assert!(!range.contains(&parts[1].as_ptr()));
    let (items, parts, copied) = take(1000);
    assert_eq!((items, parts.len()), (530, 2));
    assert_eq!(copied, parts[0].len(), "its rest is, too");
    assert!(range.contains(&parts[1].as_ptr()));
}

#[test]
fn pieces_of_several_items_do_not_exceed_the_byte_limit() {
    for (name, signal, make) in INPUTS.into_iter().filter(|(name, ..)| !name.contains("huge")) {
        for bytes in [64, 1000, 5000, 1 << 16] {
            let mut splitter = splitter(signal, &make(1 << 15));
            let (pieces, ..) = split_all(&mut splitter, PieceLimit::bytes(bytes), StepBudget::UNITS_PER_STEP);
            for piece in &pieces {
                assert!(piece.items() <= 1 || piece.len() <= bytes, "{name}: {} of {bytes}", piece.len());
            }
            let average = pieces.iter().map(Rope::len).sum::<usize>() / pieces.len();
            assert!(bytes != 5000 || average > bytes / 2, "{name}: {average} of {bytes}");
        }
    }
}

#[test]
fn span_above_the_byte_limit_is_a_piece_of_its_own() {
    let sizes = [10, 5000, 20, 6000, 7000, 30];
    let spans: Vec<u8> = sizes.iter().flat_map(|n| len_field(2, &len_field(5, &vec![b'x'; *n]))).collect();
    let body = len_field(1, &[len_field(2, &spans), len_field(1, b"\x10\x01")].concat());
    let mut splitter = splitter(Signal::Traces, &[body]);
    let (pieces, ..) = split_all(&mut splitter, PieceLimit::bytes(1000), StepBudget::UNITS_PER_STEP);
    assert_eq!(pieces.iter().map(Rope::items).collect::<Vec<_>>(), [1, 1, 1, 1, 1, 1]);
    assert!(pieces.iter().all(|piece| piece.to_bytes().ends_with(b"x")), "the resource is in front of the spans");
}

#[test]
fn split_at_half_of_the_items_returns_two_halves() {
    let body = len_field(1, &scope_with_items(1001, &len_field(5, b"name")));
    let mut splitter = splitter(Signal::Traces, &[body]);
    let half = u32::try_from(splitter.items().div_ceil(2)).unwrap();
    let (pieces, ..) = split_all(&mut splitter, PieceLimit::items(half), StepBudget::UNITS_PER_STEP);
    assert_eq!(pieces.iter().map(Rope::items).collect::<Vec<_>>(), [501, 500]);
}

#[test]
fn piece_is_attributed_to_the_parts_it_was_made_from() {
    let part = || Rope::new(Bytes::from(len_field(1, &scope_with_items(10, b""))), 10);
    let mut splitter = Splitter::new(Signal::Logs);
    (0..4).for_each(|_| splitter.push(part()));
    let mut from = Vec::new();
    while !splitter.is_empty() {
        let first = splitter.finished_parts();
        let piece = splitter.next_piece(PieceLimit::items(15), &mut StepBudget::for_one_step()).unwrap();
        from.push((first..splitter.started_parts(), piece.items()));
    }
    assert_eq!(from, [(0..2, 15), (1..3, 15), (3..4, 10)]);
    assert_eq!(splitter.pushed_parts(), 4);
}

#[test]
fn entries_without_items_are_kept() {
    // An unknown field beside the entries, an entry without items, and one with a scope that has none.
    let empty = [len_field(17, b"x"), len_field(1, &wrapper(1)), len_field(1, &len_field(2, &wrapper(2)))].concat();
    let one = len_field(1, &scope_with_items(1, b""));
    let parts = [empty.clone(), one.clone(), [empty.clone(), one.clone(), one, empty.clone()].concat(), empty];
    for max in 1..4 {
        let mut splitter = splitter(Signal::Logs, &parts);
        let (pieces, ..) = split_all(&mut splitter, PieceLimit::items(max), 100);
        assert_eq!(pieces.iter().map(|piece| piece.items()).sum::<u32>(), 3);
        let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_bytes()).collect();
        assert_eq!(joined, parts.concat(), "nothing of this has to be cut");
    }
    // A long entry without items is read, and written again unchanged except for the order of its fields.
    let long = len_field(1, &[len_field(2, b"").repeat(1 << 17), wrapper(1)].concat());
    let mut splitter = splitter(Signal::Logs, &[long.clone(), len_field(1, &scope_with_items(5, b""))]);
    let (pieces, ..) = split_all(&mut splitter, PieceLimit { items: 2, bytes: 100_000 }, StepBudget::UNITS_PER_STEP);
    let joined: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_bytes()).collect();
    let scopes = |body: &[u8]| {
        let entries = MessageFields::new(body)
            .filter_map(|(_, wire)| if let WireValue::Len(entry) = wire { Some(entry) } else { None });
        entries.map(|entry| MessageFields::new(entry).filter(|(number, _)| *number == 2).count()).sum::<usize>()
    };
    assert_eq!(scopes(&joined), (1 << 17) + 3);
    assert_eq!(check(Signal::Logs, &joined).unwrap().items, 5);
}

#[test]
fn wrong_item_count_does_not_lose_bytes() {
    let mut unknown = len_field(1, &scope_with_items(10, b""));
    put_varint_field(&mut unknown, 9, 1);
    for items in [0, 3, 10, 11, 1000] {
        for bytes in [unknown.clone(), unknown[..unknown.len() - 1].to_vec(), vec![0xff; 30]] {
            let mut splitter = Splitter::new(Signal::Logs);
            splitter.push(Rope::new(Bytes::from(bytes), items));
            let (pieces, ..) = split_all(&mut splitter, PieceLimit { items: 4, bytes: 20 }, 1000);
            assert!(pieces.len() <= 40);
            assert_eq!(splitter.items(), 0);
        }
    }
}
