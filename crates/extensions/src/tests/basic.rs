//! Tests of `basicauth`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{House, parse};
use crate::BasicAuthFactory as Basic;

const WRONG: &str = "invalid credentials";

/// `user` with the lowest cost of bcrypt, made by Apache's htpasswd.
const BCRYPT: &str = "user:$2y$04$xOg9EJNoPlU37s2u5wsiUuoRnHUExJx7g858lRd/7SXXc1nBG5nwm";

fn err(sentence: &str) -> Result<(), String> {
    Err(sentence.to_owned())
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

fn inline(lines: &str) -> House {
    House::new(&Basic, &format!("{{htpasswd: {{inline: {lines:?}}}}}")).started()
}

#[test]
fn every_form_of_htpasswd_is_understood() {
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
        let mut house = inline(line);
        assert_eq!(house.said(), Vec::<String>::new(), "{line}");
        assert_eq!(house.authorize(&basic("user:pässword 1")), Ok(()), "{line}");
        for other in ["user:pässword 2", "user:", "user:passw\u{f6}rd 1", "User:pässword 1", ":pässword 1"] {
            assert_eq!(house.authorize(&basic(other)), err(WRONG), "{other} for {line}");
        }
        let hash = line.strip_prefix("user:").unwrap();
        assert_eq!(house.authorize(&basic(line)).is_ok(), !hash.contains(['$', '{']), "no hash is a password: {line}");
    }
}

#[test]
fn md5_knows_short_salts_long_passwords_and_none() {
    for (line, password) in [
        ("u:$apr1$abcdefgh$AaK/FVm2z4lOI9DSq69901", "a password that is longer than sixteen bytes"),
        ("u:$1$xy$sCW6WZJsSz7hVuvH0BCaf.", "pw"),
        ("u:$apr1$ab$S8K6Sgp3W8c9Jb6LxgywZ.", ""),
    ] {
        let mut house = inline(line);
        assert_eq!(house.authorize(&basic(&format!("u:{password}"))), Ok(()), "{line}");
        assert_eq!(house.authorize(&basic(&format!("u:{password}x"))), err(WRONG), "{line}");
    }
}

#[test]
fn odd_headers_are_refused_in_the_go_collectors_words() {
    let mut house = inline("user:a:b");
    assert_eq!(house.ask(&[]), err("no basic auth provided"));
    assert_eq!(house.authorize(""), err("no basic auth provided"));
    for value in ["Basic", "Bearer dXNlcjphOmI=", "BasicdXNlcjphOmI=", "Basic\tdXNlcjphOmI="] {
        assert_eq!(house.authorize(value), err("invalid authorization scheme prefix"), "{value}");
    }
    for value in ["Basic ", "Basic user:a:b", "Basic dXNlcg==", "Basic dXNlcjphOmI", "Basic  dXNlcjphOmI="] {
        assert_eq!(house.authorize(value), err("invalid authorization format"), "{value}");
    }
    assert_eq!(house.ask(&[("authorization", b"Basic \xff\xff")]), err("invalid authorization format"));
    // The first colon separates user and password: passwords may contain colons.
    assert_eq!((house.authorize("bAsIC dXNlcjphOmI="), house.authorize(&basic("user:a"))), (Ok(()), err(WRONG)));
    assert_eq!(house.ask(&[("authorization", basic("u").as_bytes())]), err("invalid authorization format"));
    assert_eq!(house.authorize("Basic dXNlcjphOmJ="), Ok(()), "stray bits after the last byte");
    let not_text = format!("Basic {}", STANDARD.encode(b"\xff\xfe:\x80"));
    assert_eq!(house.authorize(&not_text), err(WRONG));
}

#[test]
fn the_file_is_read_at_the_start_and_inline_goes_before_it() {
    let yaml = "htpasswd: {file: /users, inline: \"anna:new\"}";
    let mut house = House::new(&Basic, yaml);
    assert_eq!(house.start(), err("open htpasswd file: open /users: no such file or directory"));
    assert_eq!(house.authorize(&basic("anna:new")), err(WRONG));
    let mut house = House::new(&Basic, yaml).with("/users", "# people\r\n\r\nanna:old\r\nbert:b\r\nbert:c").started();
    let tried = ["anna:new", "anna:old", "bert:b", "bert:c", "# people:"].map(|c| house.authorize(&basic(c)).is_ok());
    assert_eq!(tried, [true, false, false, true, false]);
    // As in the Go collector, a later change of the file has no effect.
    house.write("/users", "eve:e");
    house.wait(Duration::from_secs(60));
    assert_eq!((house.authorize(&basic("eve:e")), house.world.reads), (err(WRONG), 1));
}

#[test]
fn lines_that_are_no_use_are_told_without_what_they_say() {
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
    let mut house = inline(&lines.join("\n"));
    let said = house.said();
    assert_eq!(said.len(), 10, "{said:?}");
    assert!(said.iter().all(|line| line.starts_with("warn: ") && !line.contains("secret")), "{said:?}");
    assert_eq!(
        said[0],
        "warn: a line of htpasswd was left out source=inline line=Uint(1) error=malformed line, no colon"
    );
    assert!(said[1].ends_with("line=Uint(2) error=a hash of this kind is not supported; write one with `htpasswd -B`"));
    assert!(said[9].contains("takes long to check") && said[9].ends_with("line=Uint(10)"), "{}", said[9]);
    // A line that is left out permits no credentials, in particular not the hash as the password.
    for line in &lines[1..9] {
        assert_eq!(house.authorize(&basic(line)), err(WRONG), "{line}");
    }
    assert_eq!(house.authorize(&basic("j:$ecret")), Ok(()), "plain text may begin with a dollar sign");
    assert_eq!(inline("# nobody").said(), ["warn: htpasswd has no users: everyone is refused"]);
}

#[test]
fn lines_without_a_user_or_a_hash_let_nobody_in() {
    let mut server = inline("empty:\n:password\n:\nblank: \nsha:{SHA}\nmd5:$apr1$\n");
    let said = server.said();
    assert!(said.iter().filter(|line| line.contains("a line of htpasswd was left out")).count() == 6, "{said:?}");
    for credentials in ["empty:", ":password", ":", "blank:", "blank: ", "sha:", "md5:", "sha:{SHA}"] {
        assert_eq!(server.authorize(&basic(credentials)), err(WRONG), "{credentials}");
    }
}

#[test]
fn a_flood_of_wrong_passwords_is_refused_unchecked_and_spares_who_is_in() {
    let mut house = inline(&format!("{BCRYPT}\nother{}", BCRYPT.strip_prefix("user").unwrap()));
    assert_eq!(house.authorize(&basic("user:pässword 1")), Ok(()));
    for i in 0..1000 {
        assert_eq!(house.authorize(&basic(&format!("user:{i}"))), err(WRONG));
    }
    let refused = "warn: too many wrong passwords: for now, credentials that were not seen before are refused";
    assert_eq!(house.said(), [refused]);
    assert_eq!(house.authorize(&basic("user:pässword 1")), Ok(()), "who is in stays in");
    assert_eq!(house.authorize(&basic("other:pässword 1")), err(WRONG), "who is new waits");
    house.wait(Duration::from_millis(500));
    assert_eq!(house.authorize(&basic("other:pässword 1")), Ok(()));
    for i in 0..1000 {
        house.wait(Duration::from_millis(70));
        assert_eq!(house.authorize(&basic(&format!("user:b{i}"))), err(WRONG));
    }
    assert_eq!(house.said(), [refused], "told once a minute at most");
}

#[test]
fn a_client_sends_name_and_password_and_is_no_server() {
    let mut house = House::new(&Basic, "client_auth: {username: Aladdin, password: 'open sesame'}").started();
    // The example of RFC 7617.
    assert_eq!(house.sends(), "authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(house.extension.server_auth().is_none());
    assert!(inline("a:b").extension.client_auth().is_none());
    let mut house = House::new(&Basic, "client_auth: {password: token}").started();
    assert_eq!(house.sends(), format!("authorization: {}", basic(":token")));
}

#[test]
fn a_clients_files_go_before_its_texts_and_may_change() {
    let yaml = "client_auth: {username: ignored, username_file: /name, password: ignored, password_file: /pass}";
    let mut house = House::new(&Basic, yaml).with("/name", "anna\n");
    let missing = "failed to read credentials file \"/pass\": open /pass: no such file or directory";
    assert_eq!(house.start(), err(missing));
    let mut house = house.with("/pass", " one\n").started();
    assert_eq!(house.sends(), format!("authorization: {}", basic("anna:one")));
    house.write("/pass", "two");
    assert_eq!(house.sends(), format!("authorization: {}", basic("anna:one")));
    house.wait(Duration::from_secs(1));
    assert_eq!(house.sends(), format!("authorization: {}", basic("anna:two")));
    assert_eq!(house.said(), ["info: refresh credentials filename=/pass"]);
    house.write("/name", "an:na");
    house.write("/pass", "\n");
    house.wait(Duration::from_secs(1));
    assert_eq!(house.sends(), format!("authorization: {}", basic("anna:two")));
    let kept = "warn: failed to reload credentials file, keeping last value filename";
    assert_eq!(
        house.said(),
        [
            format!("{kept}=/name error=invalid authorization format"),
            format!("{kept}=/pass error=credentials file is empty")
        ]
    );
}

#[test]
fn a_user_name_with_a_colon_keeps_it_from_starting() {
    let mut house = House::new(&Basic, "client_auth: {username: 'a:b', password: c}");
    assert_eq!(house.start(), err("invalid authorization format"));
    let mut house = House::new(&Basic, "client_auth: {username_file: /name}").with("/name", "a:b");
    assert_eq!(house.start(), err("failed to read credentials file \"/name\": invalid authorization format"));
}

#[test]
fn mistakes_are_told_in_the_go_collectors_words() {
    let none = "no credential source provided";
    for (yaml, sentence) in [
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
        assert_eq!(parsed.said, [sentence], "{yaml}");
        assert!(parsed.settings.is_none());
    }
    assert_eq!(parse(&Basic, "{htpasswd: {inlin: a}}").said, [none, "'htpasswd' has invalid keys: inlin"]);
}

#[test]
fn passwords_show_themselves_nowhere() {
    for yaml in ["client_auth: {username: me, password: hidden}", "htpasswd: {inline: 'me:hidden'}"] {
        let parsed = parse(&Basic, yaml);
        let shown = otelcore_config::print::yaml(&parsed.effective, true);
        assert!(shown.contains("[REDACTED]") && !shown.contains("hidden"), "{shown}");
        let other = if yaml.starts_with("htpasswd") { "client_auth: null" } else { "htpasswd: null" };
        assert!(shown.contains(other), "{shown}");
        assert!(parse(&Basic, &shown).said.is_empty(), "what is shown can be read again");
        let any: Box<dyn std::any::Any> = parsed.settings.unwrap();
        let debug = format!("{:?}", any.downcast::<crate::BasicAuth>().unwrap());
        assert!(debug.contains("[REDACTED]") && !debug.contains("hidden"), "{debug}");
    }
}
