//! What values of the payload can't make functions do: end with a panic, or take memory or work without bound.

use otelcore_pdata::Value as Tree;

use crate::error::EvalError;
use crate::evaluate::{Execution, FixedEnvironment, State};
use crate::functions::format::sprintf;
use crate::testing::{ITEM, Item};
use crate::value::{List, ListElements, ListKind, Value};
use crate::{Compiler, Functions, PathPrefix};

const MIB: usize = 1 << 20;

/// Executes a statement on an item with this name and these attributes.
fn execute(statement: &str, item: &mut Item) -> Result<bool, EvalError> {
    let functions = Functions::standard();
    let compiler = Compiler { context: ITEM, functions: &functions, prefix: PathPrefix::Implied };
    let statement = compiler.statement(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    let environment = FixedEnvironment::new(1, 1);
    statement.execute(&mut Execution::new(item, &mut State::default(), &environment))
}

/// The text of an expression of `name`.
fn text(expression: &str, name: impl Into<Vec<u8>>) -> Result<String, String> {
    let mut item = Item { name: name.into(), ..Item::default() };
    execute(&format!("set(attributes[\"result\"], {expression})"), &mut item).map_err(|error| error.to_string())?;
    match item.attributes.pop() {
        Some((_, Tree::String(text))) => Ok(String::from_utf8(text).expect("text")),
        other => panic!("{expression}: {other:?}"),
    }
}

#[test]
fn format_of_any_width_and_precision_never_panics() {
    let values = [0.0, 0.0001, 0.000_012_3, 1.5, 1e21, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NAN];
    let values: Vec<Value<'_>> = values
        .into_iter()
        .map(Value::Double)
        .chain([0, 65, i64::MIN].map(Value::Int))
        .chain([Value::str("text"), Value::Bytes((&b"\x01\xff"[..]).into()), Value::Nil, Value::Bool(true)])
        .collect();
    for number in [64_999, 65_000, 65_001, 65_530, 65_535, 65_536, 1_000_000] {
        for verb in "vdboOxXcqUgGeEfFstT".chars() {
            for value in &values {
                for format in [format!("%.{number}{verb}"), format!("%0{number}{verb}"), format!("%#-{number}{verb}")] {
                    sprintf(format.as_bytes(), std::slice::from_ref(value));
                }
                let from_data = [Value::Int(number), Value::Int(number), value.reborrow()];
                sprintf(format!("%+*.*{verb}").as_bytes(), &from_data);
            }
        }
    }
}

#[test]
fn format_at_the_largest_precision_writes_all_digits() {
    let len = |format: &str, value| sprintf(format.as_bytes(), &[value]).len();
    assert_eq!(len("%.65000f", Value::Double(0.5)), 65_002);
    assert_eq!(len("%.65000e", Value::Double(0.5)), "5.e-01".len() + 65_000);
    assert_eq!(len("%#.65000g", Value::Double(0.000_1)), "0.0001".len() + 64_999);
    assert_eq!(len("%.65000U", Value::Int(65)), "U+".len() + 65_000);
    assert_eq!(len("%65000d", Value::Int(1)), 65_000);
}

#[test]
fn format_whose_result_is_too_large_fails() {
    let item = |count| Item {
        attributes: vec![(b"list".to_vec(), Tree::Array(vec![Tree::Int(1); count]))],
        ..Item::default()
    };
    let statement = "set(name, Format(\"%65000d\", [attributes[\"list\"]]))";
    assert_eq!(execute(statement, &mut item(10)), Ok(true));
    let error = execute(statement, &mut item(2000)).expect_err("too large");
    assert_eq!(error.to_string(), "the result of Format is larger than 67108864 bytes");
    // All other ways to repeat a width.
    let ints = vec![Value::Int(1); 2000];
    let list = Value::List(List { kind: ListKind::Any, elements: ListElements::Values(ints.clone()) });
    let bytes = Value::Bytes(vec![1; 10_000].into());
    let most = 64 * MIB + 2 * 65_000;
    assert!(sprintf(&b"%65000d".repeat(2000), &ints).len() <= most);
    assert!(sprintf(b"%65000s", &[bytes.reborrow()]).len() <= most);
    assert!(sprintf(b"%65000b", &[bytes.reborrow()]).len() <= most);
    assert!(sprintf(b"%65000d", &[bytes]).len() <= most);
    assert!(sprintf(b"%65000z", &[list]).len() <= most);
}

#[test]
fn flatten_of_a_long_key_above_many_fails() {
    let map = |bytes, count: usize| {
        let inner = (0..count).map(|index| (index.to_string().into_bytes(), Tree::Int(1))).collect();
        Item { attributes: vec![(vec![b'k'; bytes], Tree::Map(inner))], ..Item::default() }
    };
    let mut item = map(1000, 1000);
    assert_eq!(execute("flatten(attributes)", &mut item), Ok(true));
    assert_eq!(item.attributes.len(), 1000);
    let mut item = map(MIB, 100);
    let error = execute("flatten(attributes)", &mut item).expect_err("too large");
    assert_eq!(error.to_string(), "the result of flatten is larger than 67108864 bytes");
    assert_eq!(item.attributes.len(), 1, "nothing changes");
    let statement = "flatten(attributes, resolveConflicts = true)";
    let list =
        |count| Item { attributes: vec![(vec![b'k'; MIB], Tree::Array(vec![Tree::Int(1); count]))], ..Item::default() };
    assert!(execute(statement, &mut list(100)).is_err());
    assert_eq!(execute(statement, &mut list(10)), Ok(true));
}

#[test]
fn xml_whose_result_is_too_large_fails() {
    let nested = |len| format!("{}{}{}", "<a>".repeat(90), "x".repeat(len), "</a>".repeat(90));
    assert!(text("GetXML(name, \"//a\")", nested(1000)).is_ok());
    let error = text("GetXML(name, \"//a\")", nested(MIB)).expect_err("too large");
    assert_eq!(error, "the result of GetXML is larger than 67108864 bytes");
    let document = format!("<r>{}</r>", "<a></a>".repeat(100));
    let insert = |len| text(&format!("InsertXML(name, \"//a\", \"<b>{}</b>\")", "x".repeat(len)), document.clone());
    assert!(insert(1000).is_ok());
    assert_eq!(insert(MIB).expect_err("too large"), "the result of InsertXML is larger than 67108864 bytes");
}

#[test]
fn xml_with_a_long_namespace_of_many_names_fails() {
    let long = "n".repeat(MIB);
    let elements = |count: usize| format!("<r xmlns:p=\"{long}\">{}</r>", "<p:a></p:a>".repeat(count));
    assert!(text("GetXML(name, \"/none\")", elements(10)).is_ok());
    let error = text("GetXML(name, \"/none\")", elements(100)).expect_err("too large");
    assert!(error.contains("the namespaces of all names are larger than 67108864 bytes"), "{error}");
    let attributes =
        |count: usize| format!("<r xmlns:{long}=\"n\" xmlns:p=\"n\">{}</r>", "<a p:b=\"c\"></a>".repeat(count));
    assert!(text("GetXML(name, \"/none\")", attributes(100)).is_ok(), "the last declaration counts");
    let attributes =
        |count: usize| format!("<r xmlns:p=\"n\" xmlns:{long}=\"n\">{}</r>", "<a p:b=\"c\"></a>".repeat(count));
    let error = text("GetXML(name, \"/none\")", attributes(100)).expect_err("too large");
    assert!(error.contains("the prefixes of all attributes are larger than 67108864 bytes"), "{error}");
}

#[test]
fn xml_with_many_namespaces_is_read() {
    let declarations: String =
        (0..50_000).map(|index| format!(" xmlns:p{index}=\"n{index}\" p{index}:a=\"\"")).collect();
    let read = text("GetXML(name, \"/r/b\")", format!("<r{declarations}><b></b></r>"));
    assert_eq!(read, Ok("<b></b>".to_owned()));
    let pairs: String = (0..50_000).map(|index| format!(" a{index}=\"1\"")).collect();
    let read = text("GetXML(name, \"/r\")", format!("<?pi{pairs}?><r></r>"));
    assert_eq!(read, Ok("<r></r>".to_owned()));
}

#[test]
fn xpath_that_reads_the_same_text_for_each_node_fails() {
    let too_many = "the XPath takes too many steps on this document";
    let empty = |count: usize| format!("<r>{}</r>", "<a></a>".repeat(count));
    assert!(text("GetXML(name, \"//a[string(/) = 'x']\")", empty(100)).is_ok());
    let error = text("GetXML(name, \"//a[string(/) = 'x']\")", empty(20_000)).expect_err("too many steps");
    assert!(error.contains(too_many), "{error}");
    let attribute = |count: usize| format!("<r long=\"{}\">{}</r>", "x".repeat(MIB), "<a></a>".repeat(count));
    assert!(text("GetXML(name, \"//a[/r/@long = 'x']\")", attribute(1)).is_ok());
    let error = text("GetXML(name, \"//a[/r/@long = 'x']\")", attribute(1000)).expect_err("too many steps");
    assert!(error.contains(too_many), "{error}");
    // One step from many nodes, each of which needs no list of all of them.
    assert!(text("GetXML(name, \"//a//b\")", empty(20_000)).is_ok());
    let predicates = "GetXML(name, \"//a[count(descendant::b) = 1]\")";
    assert_eq!(text(predicates, empty(20_000)), Ok(String::new()));
}
