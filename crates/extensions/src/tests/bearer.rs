//! Tests of `bearertokenauth`.

use std::time::Duration;

use super::{House, parse};
use crate::BearerTokenAuthFactory as Bearer;

const MISMATCH: &str = "scheme or token does not match";

fn err(sentence: &str) -> Result<(), String> {
    Err(sentence.to_owned())
}

#[test]
fn a_server_lets_in_who_has_the_token_and_nobody_else() {
    let mut house = House::new(&Bearer, "token: s3cret").started();
    assert_eq!(house.authorize("Bearer s3cret"), Ok(()));
    assert_eq!(house.ask(&[]), err("missing or empty authorization header: Authorization"));
    assert_eq!(house.authorize(""), err("missing or empty authorization header: Authorization"));
    let wrong = [
        "Bearer",
        "Bearer ",
        "Bearer s3cre",
        "Bearer s3cret ",
        "Bearer  s3cret",
        "bearer s3cret",
        "s3cret",
        "Basic s3cret",
    ];
    for value in wrong {
        assert_eq!(house.authorize(value), err(MISMATCH), "{value}");
    }
    assert_eq!(house.ask(&[("authorization", b"Bearer \xff\xfe")]), err(MISMATCH));
    assert!(house.ask(&[("x-token", b"Bearer s3cret")]).is_err());
    assert!(house.said().is_empty());
}

#[test]
fn header_and_scheme_are_the_users() {
    let mut house = House::new(&Bearer, "{token: s3cret, header: X-Api-Key, scheme: ''}").started();
    assert_eq!(house.ask(&[("x-api-key", b"s3cret")]), Ok(()));
    assert_eq!(house.ask(&[("x-api-key", b"Bearer s3cret")]), err(MISMATCH));
    assert_eq!(house.authorize("s3cret"), err("missing or empty authorization header: X-Api-Key"));
    assert_eq!(house.sends(), "x-api-key: s3cret");
    let mut house = House::new(&Bearer, "{token: s3cret, scheme: Token}").started();
    assert_eq!(house.authorize("Token s3cret"), Ok(()));
    assert_eq!(house.sends(), "authorization: Token s3cret");
}

#[test]
fn a_server_accepts_each_of_many_tokens_and_a_client_sends_the_first() {
    let mut house = House::new(&Bearer, "tokens: [new, old]").started();
    assert_eq!((house.authorize("Bearer new"), house.authorize("Bearer old")), (Ok(()), Ok(())));
    assert_eq!(house.authorize("Bearer newold"), err(MISMATCH));
    assert_eq!(house.sends(), "authorization: Bearer new");
}

#[test]
fn a_file_goes_before_tokens_and_its_empty_lines_are_none() {
    let parsed = parse(&Bearer, "{token: ignored, filename: /token}");
    assert_eq!(parsed.said, ["a filename is specified. Configured token(s) is ignored!"]);
    let mut house =
        House::new(&Bearer, "{token: ignored, filename: /token}").with("/token", " one \r\n\n\ttwo\n\n").started();
    assert_eq!((house.authorize("Bearer one"), house.authorize("Bearer two")), (Ok(()), Ok(())));
    assert_eq!(house.authorize("Bearer ignored"), err(MISMATCH));
    assert_eq!(house.authorize("Bearer "), err(MISMATCH), "an empty line is no token");
    assert_eq!(house.sends(), "authorization: Bearer one");
}

#[test]
fn a_new_token_in_the_file_counts_after_a_second_at_most() {
    let mut house = House::new(&Bearer, "filename: /token").with("/token", "one\n").started();
    house.write("/token", "two\n");
    for _ in 0..100 {
        house.wait(Duration::from_millis(9));
        assert_eq!(house.authorize("Bearer one"), Ok(()));
    }
    assert_eq!(house.world.reads, 1, "the file is not read for each request");
    house.wait(Duration::from_millis(100));
    assert_eq!(house.authorize("Bearer one"), err(MISMATCH));
    assert_eq!((house.authorize("Bearer two"), house.sends()), (Ok(()), "authorization: Bearer two".to_owned()));
    assert_eq!(house.world.reads, 2);
    assert_eq!(house.said(), ["info: refresh token filename=/token"]);
    house.wait(Duration::from_secs(5));
    assert_eq!((house.sends(), house.world.reads), ("authorization: Bearer two".to_owned(), 3));
    assert!(house.said().is_empty(), "nothing has changed");
}

#[test]
fn a_file_that_goes_away_or_empties_leaves_the_token_and_is_told_once() {
    let mut house = House::new(&Bearer, "filename: /token").with("/token", "one").started();
    house.world.files.clear();
    for _ in 0..3 {
        house.wait(Duration::from_secs(1));
        assert_eq!(house.authorize("Bearer one"), Ok(()));
    }
    let gone = "warn: failed to reload credentials file, keeping last value filename=/token error=open /token: no such file or directory";
    assert_eq!(house.said(), [gone]);
    house.write("/token", "\n \n");
    house.wait(Duration::from_secs(1));
    assert_eq!(house.authorize("Bearer one"), Ok(()));
    house.write("/token", "two");
    house.wait(Duration::from_secs(1));
    assert_eq!(house.authorize("Bearer two"), Ok(()));
    assert_eq!(house.said(), ["info: refresh token filename=/token"]);
    house.write("/token", &"x".repeat((1 << 20) + 1));
    house.wait(Duration::from_secs(1));
    assert_eq!(house.authorize("Bearer two"), Ok(()));
    let said = house.said();
    assert!(said.len() == 1 && said[0].ends_with("is larger than 1 MiB") && !said[0].contains("xx"), "{said:?}");
}

#[test]
fn a_file_that_is_missing_or_empty_at_the_start_keeps_it_from_starting() {
    let mut house = House::new(&Bearer, "filename: /token");
    assert_eq!(house.start(), err("open /token: no such file or directory"));
    assert_eq!(house.authorize("Bearer "), err(MISMATCH));
    assert_eq!(house.headers(), Err("no bearer token provided".to_owned()));
    house.write("/token", "\n");
    assert_eq!(house.start(), err("there is no token in the file"));
}

#[test]
fn mistakes_are_told_in_the_go_collectors_words() {
    for (yaml, sentence) in [
        ("{}", "no bearer token provided"),
        ("{token: '', tokens: []}", "no bearer token provided"),
        ("{token: a, tokens: [b]}", "either tokens or token should be provided, not both"),
        ("{tokens: [a, '']}", "an empty token in `tokens` would let in whoever sends none"),
        ("{token: a, header: 'X Key'}", "'header' is no name that a header can have"),
        ("{token: a, header: ''}", "'header' is no name that a header can have"),
        (
            "{filename: a, retry_on_failure: {enabled: true}}",
            "'retry_on_failure' is not supported: the token file must be there at the start; leave `retry_on_failure` out",
        ),
    ] {
        assert_eq!(parse(&Bearer, yaml).said, [sentence], "{yaml}");
    }
    assert!(parse(&Bearer, "{filename: a, retry_on_failure: {enabled: false}}").said.is_empty());
    assert!(parse(&Bearer, "{token: a, tokn: b}").said[0].contains("tokn"));
}

#[test]
fn tokens_show_themselves_nowhere() {
    let parsed = parse(&Bearer, "{tokens: [hidden1, hidden2]}");
    let shown = otelcore_config::print::yaml(&parsed.effective, true);
    assert!(shown.contains("[REDACTED]") && !shown.contains("hidden"), "{shown}");
    let shown = otelcore_config::print::yaml(&parse(&Bearer, "token: hidden3").effective, true);
    assert!(shown.contains("[REDACTED]") && !shown.contains("hidden"), "{shown}");
    let any: Box<dyn std::any::Any> = parsed.settings.unwrap();
    let debug = format!("{:?}", any.downcast::<crate::BearerTokenAuth>().unwrap());
    assert!(debug.contains("[REDACTED]") && !debug.contains("hidden"), "{debug}");
}
