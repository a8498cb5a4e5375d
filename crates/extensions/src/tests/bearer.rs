//! Tests of `bearertokenauth`.

use std::time::Duration;

use super::{Fixture, parse, read_config};
use crate::BearerTokenAuthFactory as Bearer;

const MISMATCH: &str = "scheme or token does not match";

fn err(message: &str) -> Result<(), String> {
    Err(message.to_owned())
}

#[test]
fn server_accepts_only_requests_with_the_token() {
    let mut fixture = Fixture::new(&Bearer, "token: s3cret").started();
    assert_eq!(fixture.authorize("Bearer s3cret"), Ok(()));
    assert_eq!(fixture.authenticate(&[]), err("missing or empty authorization header: Authorization"));
    assert_eq!(fixture.authorize(""), err("missing or empty authorization header: Authorization"));
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
        assert_eq!(fixture.authorize(value), err(MISMATCH), "{value}");
    }
    assert_eq!(fixture.authenticate(&[("authorization", b"Bearer \xff\xfe")]), err(MISMATCH));
    assert!(fixture.authenticate(&[("x-token", b"Bearer s3cret")]).is_err());
    assert!(fixture.take_log_lines().is_empty());
}

#[test]
fn configured_header_and_scheme_are_used() {
    let mut fixture = Fixture::new(&Bearer, "{token: s3cret, header: X-Api-Key, scheme: ''}").started();
    assert_eq!(fixture.authenticate(&[("x-api-key", b"s3cret")]), Ok(()));
    assert_eq!(fixture.authenticate(&[("x-api-key", b"Bearer s3cret")]), err(MISMATCH));
    assert_eq!(fixture.authorize("s3cret"), err("missing or empty authorization header: X-Api-Key"));
    assert_eq!(fixture.sent_header(), "x-api-key: s3cret");
    let mut fixture = Fixture::new(&Bearer, "{token: s3cret, scheme: Token}").started();
    assert_eq!(fixture.authorize("Token s3cret"), Ok(()));
    assert_eq!(fixture.sent_header(), "authorization: Token s3cret");
}

#[test]
fn server_accepts_each_of_several_tokens_and_client_sends_the_first() {
    let mut fixture = Fixture::new(&Bearer, "tokens: [new, old]").started();
    assert_eq!((fixture.authorize("Bearer new"), fixture.authorize("Bearer old")), (Ok(()), Ok(())));
    assert_eq!(fixture.authorize("Bearer newold"), err(MISMATCH));
    assert_eq!(fixture.sent_header(), "authorization: Bearer new");
}

#[test]
fn token_file_takes_precedence_over_tokens_and_its_empty_lines_are_ignored() {
    let parsed = parse(&Bearer, "{token: ignored, filename: /token}");
    assert_eq!(parsed.messages, ["a filename is specified. Configured token(s) is ignored!"]);
    let mut fixture = Fixture::new(&Bearer, "{token: ignored, filename: /token}")
        .with_file("/token", " one \r\n\n\ttwo\n\n")
        .started();
    assert_eq!((fixture.authorize("Bearer one"), fixture.authorize("Bearer two")), (Ok(()), Ok(())));
    assert_eq!(fixture.authorize("Bearer ignored"), err(MISMATCH));
    assert_eq!(fixture.authorize("Bearer "), err(MISMATCH), "an empty line is no token");
    assert_eq!(fixture.sent_header(), "authorization: Bearer one");
}

#[test]
fn changed_token_file_is_applied_after_a_second_at_most() {
    let mut fixture = Fixture::new(&Bearer, "filename: /token").with_file("/token", "one\n").started();
    fixture.write_file("/token", "two\n");
    for _ in 0..100 {
        fixture.advance(Duration::from_millis(9));
        assert_eq!(fixture.authorize("Bearer one"), Ok(()));
    }
    assert_eq!(fixture.world.files_read(), 1, "the file is not read for each request");
    fixture.advance(Duration::from_millis(100));
    assert_eq!(fixture.authorize("Bearer one"), err(MISMATCH));
    assert_eq!(
        (fixture.authorize("Bearer two"), fixture.sent_header()),
        (Ok(()), "authorization: Bearer two".to_owned())
    );
    assert_eq!(fixture.world.files_read(), 2);
    assert_eq!(fixture.take_log_lines(), ["info: refresh token filename=/token"]);
    fixture.advance(Duration::from_secs(5));
    assert_eq!((fixture.sent_header(), fixture.world.files_read()), ("authorization: Bearer two".to_owned(), 7));
    assert!(fixture.take_log_lines().is_empty(), "nothing has changed");
}

#[test]
fn missing_or_empty_token_file_keeps_the_last_token_and_is_logged_once() {
    let mut fixture = Fixture::new(&Bearer, "filename: /token").with_file("/token", "one").started();
    fixture.world.disk().remove("/token");
    for _ in 0..3 {
        fixture.advance(Duration::from_secs(1));
        assert_eq!(fixture.authorize("Bearer one"), Ok(()));
    }
    let missing = "warn: failed to reload credentials file, keeping last value filename=/token error=open /token: no such file or directory";
    assert_eq!(fixture.take_log_lines(), [missing]);
    fixture.write_file("/token", "\n \n");
    fixture.advance(Duration::from_secs(1));
    assert_eq!(fixture.authorize("Bearer one"), Ok(()));
    fixture.write_file("/token", "two");
    fixture.advance(Duration::from_secs(1));
    assert_eq!(fixture.authorize("Bearer two"), Ok(()));
    assert_eq!(fixture.take_log_lines(), ["info: refresh token filename=/token"]);
    fixture.write_file("/token", &"x".repeat((1 << 20) + 1));
    fixture.advance(Duration::from_secs(1));
    assert_eq!(fixture.authorize("Bearer two"), Ok(()));
    let messages = fixture.take_log_lines();
    assert!(
        messages.len() == 1 && messages[0].ends_with("is larger than 1 MiB") && !messages[0].contains("xx"),
        "{messages:?}"
    );
}

#[test]
fn missing_or_empty_token_file_at_the_start_is_a_start_error() {
    let mut fixture = Fixture::new(&Bearer, "filename: /token");
    assert_eq!(fixture.start(), err("open /token: no such file or directory"));
    assert_eq!(fixture.authorize("Bearer "), err(MISMATCH));
    assert_eq!(fixture.headers(), Err("no bearer token provided".to_owned()));
    fixture.write_file("/token", "\n");
    assert_eq!(fixture.start(), err("there is no token in the file"));
}

#[test]
fn invalid_configuration_has_the_messages_of_the_go_collector() {
    for (yaml, message) in [
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
        assert_eq!(parse(&Bearer, yaml).messages, [message], "{yaml}");
    }
    assert!(parse(&Bearer, "{filename: a, retry_on_failure: {enabled: false}}").messages.is_empty());
    assert!(parse(&Bearer, "{token: a, tokn: b}").messages[0].contains("tokn"));
}

#[test]
fn tokens_are_redacted_in_the_effective_configuration_and_in_debug() {
    let parsed = parse(&Bearer, "{tokens: [hidden1, hidden2]}");
    let printed = otelcore_config::print::to_yaml(&parsed.effective, true);
    assert!(printed.contains("[REDACTED]") && !printed.contains("hidden"), "{printed}");
    let printed = otelcore_config::print::to_yaml(&parse(&Bearer, "token: hidden3").effective, true);
    assert!(printed.contains("[REDACTED]") && !printed.contains("hidden"), "{printed}");
    let config: crate::BearerTokenAuthConfig = read_config("{token: hidden4, tokens: [hidden1, hidden2]}");
    let debug = format!("{config:?}");
    assert!(debug.contains("[REDACTED]") && !debug.contains("hidden"), "{debug}");
}
