//! Tests of `basicauth`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use otelcore_pipeline::{ClientAuth, ServerAuth};

use super::{Fixture, parse, read_config};
use crate::BasicAuthFactory as Basic;

const WRONG: &str = "invalid credentials";

/// `user` with the lowest cost of bcrypt, made by Apache's htpasswd.
const BCRYPT: &str = "user:$2y$04$xOg9EJNoPlU37s2u5wsiUuoRnHUExJx7g858lRd/7SXXc1nBG5nwm";

fn err(message: &str) -> Result<(), String> {
    Err(message.to_owned())
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

fn fixture_with_lines(lines: &str) -> Fixture {
    Fixture::new(&Basic, &format!("{{htpasswd: {{inline: {lines:?}}}}}")).started()
}

#[test]
fn every_htpasswd_format_is_verified() {
    // Made by htpasswd of Apache 2.4, mkpasswd of whois and openssl passwd; SSHA as constructed in RFC 2307.
    for line in [
        BCRYPT,
        "user:$apr1$pH12/E6B$f89uTft.7WD.5kj/QrVRX.",
        "user:$1$saltsalt$2f.bWx.H.UmlFhfc8jBL/.",
        "user:{SHA}wBFJYYjnh5eS5Eft5JORpd7Gkko=",
        "user:$5$rounds=1000$716bbpOWXlP62wrg$cAQb86.ArTt8IT2wtyNW5d3v8MsMgSL5V8iXtNdbmW5",
        "user:$5$saltsalt$GVAGSUsFUrum9.R3Pfglrqcc1ZXCFRxI4cK2nn./iS2",
        "user:$6$rounds=1000$xr2S5EDagkSm1AtB$XLD9jBn9wjAAtLN2YY0gmMYb6iezrexWohrIWDFfOknAnaIerpouzpom073Yl5i2ytUPvdzkPTU3G6rCmLIqI0",
        "user:$6$saltstring$XGgY63P1V71pIEzmkWAAKA2p9zafjPqJCMnjIfT42NOwiSelR3y9IUy9x75IK4MOIqwcL/3xD0l5I0d.bJOa00",
        "user:{SSHA}idX3pKaj4FpK0K4cUUxogwqgcipzYWx0c2FsdA==",
        "user:pässword 1",
    ] {
        let mut fixture = fixture_with_lines(line);
        assert_eq!(fixture.take_log_lines(), Vec::<String>::new(), "{line}");
        assert_eq!(fixture.authorize(&basic("user:pässword 1")), Ok(()), "{line}");
        for other in ["user:pässword 2", "user:", "user:passw\u{f6}rd 1", "User:pässword 1", ":pässword 1"] {
            assert_eq!(fixture.authorize(&basic(other)), err(WRONG), "{other} for {line}");
        }
        let hash = line.strip_prefix("user:").unwrap();
        assert_eq!(
            fixture.authorize(&basic(line)).is_ok(),
            !hash.contains(['$', '{']),
            "no hash is a password: {line}"
        );
    }
}

#[test]
fn md5_with_a_short_salt_long_password_or_empty_password_is_verified() {
    for (line, password) in [
        ("u:$apr1$abcdefgh$AaK/FVm2z4lOI9DSq69901", "a password that is longer than sixteen bytes"),
        ("u:$1$xy$sCW6WZJsSz7hVuvH0BCaf.", "pw"),
        ("u:$apr1$ab$S8K6Sgp3W8c9Jb6LxgywZ.", ""),
    ] {
        let mut fixture = fixture_with_lines(line);
        assert_eq!(fixture.authorize(&basic(&format!("u:{password}"))), Ok(()), "{line}");
        assert_eq!(fixture.authorize(&basic(&format!("u:{password}x"))), err(WRONG), "{line}");
    }
}

#[test]
fn invalid_authorization_header_is_refused_with_the_message_of_the_go_collector() {
    let mut fixture = fixture_with_lines("user:a:b");
    assert_eq!(fixture.authenticate(&[]), err("no basic auth provided"));
    assert_eq!(fixture.authorize(""), err("no basic auth provided"));
    for value in ["Basic", "Bearer dXNlcjphOmI=", "BasicdXNlcjphOmI=", "Basic\tdXNlcjphOmI="] {
        assert_eq!(fixture.authorize(value), err("invalid authorization scheme prefix"), "{value}");
    }
    for value in ["Basic ", "Basic user:a:b", "Basic dXNlcg==", "Basic dXNlcjphOmI", "Basic  dXNlcjphOmI="] {
        assert_eq!(fixture.authorize(value), err("invalid authorization format"), "{value}");
    }
    assert_eq!(fixture.authenticate(&[("authorization", b"Basic \xff\xff")]), err("invalid authorization format"));
    // The first colon separates user and password: passwords may contain colons.
    assert_eq!((fixture.authorize("bAsIC dXNlcjphOmI="), fixture.authorize(&basic("user:a"))), (Ok(()), err(WRONG)));
    assert_eq!(fixture.authenticate(&[("authorization", basic("u").as_bytes())]), err("invalid authorization format"));
    assert_eq!(fixture.authorize("Basic dXNlcjphOmJ="), Ok(()), "stray bits after the last byte");
    let not_text = format!("Basic {}", STANDARD.encode(b"\xff\xfe:\x80"));
    assert_eq!(fixture.authorize(&not_text), err(WRONG));
}

#[test]
fn htpasswd_file_is_read_at_the_start_and_inline_lines_take_precedence() {
    let yaml = "htpasswd: {file: /users, inline: \"anna:new\"}";
    let mut fixture = Fixture::new(&Basic, yaml);
    assert_eq!(fixture.start(), err("open htpasswd file: open /users: no such file or directory"));
    assert_eq!(fixture.authorize(&basic("anna:new")), err(WRONG));
    let mut fixture =
        Fixture::new(&Basic, yaml).with_file("/users", "# people\r\n\r\nanna:old\r\nbert:b\r\nbert:c").started();
    let results =
        ["anna:new", "anna:old", "bert:b", "bert:c", "# people:"].map(|c| fixture.authorize(&basic(c)).is_ok());
    assert_eq!(results, [true, false, false, true, false]);
    // As in the Go collector, a later change of the file has no effect.
    fixture.write_file("/users", "eve:e");
    fixture.advance(Duration::from_secs(60));
    assert_eq!((fixture.authorize(&basic("eve:e")), fixture.world.files_read()), (err(WRONG), 1));
}

#[test]
fn invalid_htpasswd_lines_are_logged_without_their_content() {
    let lines = [
        "nocolon-secret",
        "a:$y$j9T$secret$secret",
        "b:$2y$05$secret",
        "c:$apr1$secret",
        "d:{SHA}secret",
        "e:{SSHA}c2VjcmV0",
        "f:$6$secret",
        "g:{CRYPT}secret",
        "h:$5$rounds=x$secret$secret",
        "i:$2y$31$xOg9EJNoPlU37s2u5wsiUuoRnHUExJx7g858lRd/7SXXc1nBG5nwm",
        "j:$ecret",
    ];
    let mut fixture = fixture_with_lines(&lines.join("\n"));
    let log_lines = fixture.take_log_lines();
    assert_eq!(log_lines.len(), 10, "{log_lines:?}");
    assert!(log_lines.iter().all(|line| line.starts_with("warn: ") && !line.contains("secret")), "{log_lines:?}");
    assert_eq!(
        log_lines[0],
        "warn: a line of htpasswd was left out source=inline line=1 error=malformed line, no colon"
    );
    assert!(log_lines[1].ends_with("line=2 error=a hash of this kind is not supported; write one with `htpasswd -B`"));
    assert!(log_lines[9].contains("takes long to check") && log_lines[9].ends_with("line=10"), "{}", log_lines[9]);
    // A line that is left out permits no credentials, in particular not the hash as the password.
    for line in &lines[1..9] {
        assert_eq!(fixture.authorize(&basic(line)), err(WRONG), "{line}");
    }
    assert_eq!(fixture.authorize(&basic("j:$ecret")), Ok(()), "plain text may begin with a dollar sign");
    assert_eq!(fixture_with_lines("# nobody").take_log_lines(), ["warn: htpasswd has no users: everyone is refused"]);
}

#[test]
fn htpasswd_line_without_a_user_or_a_hash_accepts_no_credentials() {
    let mut fixture = fixture_with_lines("empty:\n:password\n:\nblank: \nsha:{SHA}\nmd5:$apr1$\n");
    let log_lines = fixture.take_log_lines();
    assert!(
        log_lines.iter().filter(|line| line.contains("a line of htpasswd was left out")).count() == 6,
        "{log_lines:?}"
    );
    for credentials in ["empty:", ":password", ":", "blank:", "blank: ", "sha:", "md5:", "sha:{SHA}"] {
        assert_eq!(fixture.authorize(&basic(credentials)), err(WRONG), "{credentials}");
    }
}

#[test]
fn many_wrong_passwords_are_refused_unchecked_and_known_credentials_still_accepted() {
    let mut fixture = fixture_with_lines(&format!("{BCRYPT}\nother{}", BCRYPT.strip_prefix("user").unwrap()));
    assert_eq!(fixture.authorize(&basic("user:pässword 1")), Ok(()));
    for i in 0..1000 {
        assert_eq!(fixture.authorize(&basic(&format!("user:{i}"))), err(WRONG));
    }
    let refused = "warn: too many wrong passwords: for now, credentials that were not seen before are refused";
    assert_eq!(fixture.take_log_lines(), [refused]);
    assert_eq!(fixture.authorize(&basic("user:pässword 1")), Ok(()), "known credentials are accepted");
    assert_eq!(fixture.authorize(&basic("other:pässword 1")), err(WRONG), "new credentials are refused");
    fixture.advance(Duration::from_millis(500));
    assert_eq!(fixture.authorize(&basic("other:pässword 1")), Ok(()));
    for i in 0..1000 {
        fixture.advance(Duration::from_millis(70));
        assert_eq!(fixture.authorize(&basic(&format!("user:b{i}"))), err(WRONG));
    }
    assert_eq!(fixture.take_log_lines(), [refused], "logged once a minute at most");
}

#[test]
fn client_sends_username_and_password_and_is_not_a_server_authenticator() {
    let mut fixture = Fixture::new(&Basic, "client_auth: {username: Aladdin, password: 'open sesame'}").started();
    // The example of RFC 7617.
    assert_eq!(fixture.sent_header(), "authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(fixture.offered::<dyn ServerAuth>().is_none());
    assert!(fixture_with_lines("a:b").offered::<dyn ClientAuth>().is_none());
    let mut fixture = Fixture::new(&Basic, "client_auth: {password: token}").started();
    assert_eq!(fixture.sent_header(), format!("authorization: {}", basic(":token")));
}

#[test]
fn credential_files_take_precedence_over_texts_and_are_reread() {
    let yaml = "client_auth: {username: ignored, username_file: /name, password: ignored, password_file: /pass}";
    let mut fixture = Fixture::new(&Basic, yaml).with_file("/name", "anna\n");
    let missing = "failed to read credentials file \"/pass\": open /pass: no such file or directory";
    assert_eq!(fixture.start(), err(missing));
    let mut fixture = fixture.with_file("/pass", " one\n").started();
    assert_eq!(fixture.sent_header(), format!("authorization: {}", basic("anna:one")));
    fixture.write_file("/pass", "two");
    assert_eq!(fixture.sent_header(), format!("authorization: {}", basic("anna:one")));
    fixture.advance(Duration::from_secs(1));
    assert_eq!(fixture.sent_header(), format!("authorization: {}", basic("anna:two")));
    assert_eq!(fixture.take_log_lines(), ["info: refresh credentials filename=/pass"]);
    fixture.write_file("/name", "an:na");
    fixture.write_file("/pass", "\n");
    fixture.advance(Duration::from_secs(1));
    assert_eq!(fixture.sent_header(), format!("authorization: {}", basic("anna:two")));
    let kept = "warn: failed to reload credentials file, keeping last value filename";
    assert_eq!(
        fixture.take_log_lines(),
        [
            format!("{kept}=/name error=invalid authorization format"),
            format!("{kept}=/pass error=credentials file is empty")
        ]
    );
}

#[test]
fn username_with_a_colon_is_a_start_error() {
    let parsed = parse(&Basic, "client_auth: {username: 'a:b', password: c}");
    assert_eq!((parsed.config.is_none(), parsed.messages), (true, vec!["invalid authorization format".to_owned()]));
    let mut fixture = Fixture::new(&Basic, "client_auth: {username_file: /name}").with_file("/name", "a:b");
    assert_eq!(fixture.start(), err("failed to read credentials file \"/name\": invalid authorization format"));
}

#[test]
fn invalid_configuration_has_the_messages_of_the_go_collector() {
    let none = "no credential source provided";
    for (yaml, message) in [
        ("{}", none),
        ("{htpasswd: , client_auth: {}}", none),
        ("{htpasswd: {file: '', inline: ''}}", none),
        ("{client_auth: {username: '', password: ''}}", none),
        (
            "{htpasswd: {inline: a}, client_auth: {username: b}}",
            "only one of `htpasswd` or `client_auth` can be specified",
        ),
        (
            "{client_auth: {aws_secrets_manager: {secret_arn: x}}}",
            "'aws_secrets_manager' is not supported: credentials from AWS Secrets Manager are not built; mount the secret and name `username_file` and `password_file`",
        ),
    ] {
        let parsed = parse(&Basic, yaml);
        assert_eq!(parsed.messages, [message], "{yaml}");
        assert!(parsed.config.is_none());
    }
    assert_eq!(parse(&Basic, "{htpasswd: {inlin: a}}").messages, [none, "'htpasswd' has invalid keys: inlin"]);
}

#[test]
fn passwords_are_redacted_in_the_effective_configuration_and_in_debug() {
    for yaml in ["client_auth: {username: me, password: hidden}", "htpasswd: {inline: 'me:hidden'}"] {
        let parsed = parse(&Basic, yaml);
        let printed = otelcore_config::print::to_yaml(&parsed.effective, true);
        assert!(printed.contains("[REDACTED]") && !printed.contains("hidden"), "{printed}");
        let other = if yaml.starts_with("htpasswd") { "client_auth: null" } else { "htpasswd: null" };
        assert!(printed.contains(other), "{printed}");
        assert!(parse(&Basic, &printed).messages.is_empty(), "what is shown can be read again");
        let debug = format!("{:?}", read_config::<crate::BasicAuthConfig>(yaml));
        assert!(debug.contains("[REDACTED]") && !debug.contains("hidden"), "{debug}");
    }
}
