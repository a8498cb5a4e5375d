//! A context in memory, for the tests of the language itself.

use otelcore_pdata::Value as Tree;

use crate::contexts::{ContextMut, ContextType, ContextView, Field, MapMut, ResolvedPath, Segment, UnknownPath};
use crate::error::{BuildError, EvalError};
use crate::evaluate::{
    Evaluation, Execution, Expression, FixedEnvironment, FunctionArgument, Key, PathExpression, State,
};
use crate::function::{Arguments, Callable, Converter, Editor, Function, Parameter, ParameterKind};
use crate::index;
use crate::value::{List, ListKind, Map, Time, TreeMap, Value};
use crate::{CompileError, Compiler, Functions, PathPrefix};

/// The context `item`, below `resource`.
pub(crate) const ITEM: ContextType = ContextType {
    name: "span",
    path_contexts: &["span", "resource"],
    resolve,
    enum_value: |symbol| match symbol {
        "KIND_ONE" => Some(1),
        "KIND_TWO" => Some(2),
        _ => None,
    },
    enum_symbols: &["KIND_ONE", "KIND_TWO"],
};

/// The context `resource`.
pub(crate) const RESOURCE: ContextType =
    ContextType { name: "resource", path_contexts: &["resource"], enum_value: |_| None, enum_symbols: &[], ..ITEM };

const ATTRIBUTES: u16 = 0;
const NAME: u16 = 1;
const TRACE_ID: u16 = 2;
const START: u16 = 3;
const CODE: u16 = 4;
const RESOURCE_ATTRIBUTES: u16 = 5;

fn resolve(context: &str, path: &[Segment<'_>]) -> Result<ResolvedPath, UnknownPath> {
    let names: Vec<&str> = path.iter().map(|segment| segment.name).collect();
    let (field, segments, keyed) = match (context, &names[..]) {
        ("span", ["attributes", ..]) => (ATTRIBUTES, 1, Some(0)),
        ("span", ["name", ..]) => (NAME, 1, None),
        ("span", ["trace_id", ..]) => (TRACE_ID, 1, None),
        ("span", ["start_time", ..]) => (START, 1, None),
        ("span", ["status", "code", ..]) => (CODE, 2, None),
        ("resource", ["attributes", ..]) => (RESOURCE_ATTRIBUTES, 1, Some(0)),
        (_, [first, ..]) => {
            return Err(UnknownPath {
                message: format!("segment {first:?} is not a valid path of {context}"),
                segment: 0,
                valid: &["attributes", "name", "trace_id", "start_time", "status"],
            });
        }
        (_, []) => return Err(UnknownPath { message: "no path".to_owned(), segment: 0, valid: &[] }),
    };
    Ok(ResolvedPath { field: Field::Other(field), segments, keyed })
}

/// An item in memory.
#[derive(Debug, Default)]
pub(crate) struct Item {
    pub(crate) name: Vec<u8>,
    pub(crate) code: i64,
    pub(crate) attributes: TreeMap,
    pub(crate) resource: TreeMap,
}

impl Item {
    /// An item with one attribute of each type.
    pub(crate) fn new() -> Self {
        let text = |v: &str| Tree::String(v.as_bytes().to_vec());
        let entry = |key: &str, value| (key.as_bytes().to_vec(), value);
        let list = Tree::Array(vec![Tree::Int(1), text("two"), Tree::Map(vec![entry("three", Tree::Int(3))])]);
        Self {
            name: b"GET /".to_vec(),
            code: 2,
            attributes: vec![
                entry("string", text("a")),
                entry("int", Tree::Int(5)),
                entry("double", Tree::Double(2.5)),
                entry("bool", Tree::Bool(true)),
                entry("bytes", Tree::Bytes(vec![1, 2])),
                entry("no_bytes", Tree::Bytes(Vec::new())),
                entry("empty", Tree::Empty),
                entry("list", list),
                entry("ints", Tree::Array(vec![Tree::Int(1), Tree::Int(2)])),
                entry("map", Tree::Map(vec![entry("k", text("v")), entry("n", Tree::Int(1))])),
            ],
            resource: vec![entry("host", text("h"))],
        }
    }
}

impl ContextView for Item {
    fn get<'c>(&'c self, field: Field, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        let map = |map: &'c TreeMap| match keys {
            [] => Ok(Value::Map(Map::borrowed(map))),
            keys => index::map_value_at(Map::borrowed(map), keys),
        };
        match field {
            Field::Other(ATTRIBUTES) => map(&self.attributes),
            Field::Other(RESOURCE_ATTRIBUTES) => map(&self.resource),
            Field::Other(NAME) => Ok(Value::str(&self.name)),
            Field::Other(CODE) => Ok(Value::Int(self.code)),
            Field::Other(TRACE_ID) => Ok(Value::TraceId([7; 16])),
            Field::Other(START) => Ok(Value::Time(Time::from_unix_nanos(1_000_000_000))),
            _ => Ok(Value::Nil),
        }
    }
}

impl ContextMut for Item {
    fn set(&mut self, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
        match (field, value) {
            (Field::Other(ATTRIBUTES), value) if keys.is_empty() => self.attributes = index::to_map(value)?,
            (Field::Other(ATTRIBUTES), value) => index::set_in_map(&mut self.attributes, keys, value)?,
            (Field::Other(NAME), Value::String(name)) => self.name = name.to_vec(),
            (Field::Other(CODE), Value::Int(code)) => self.code = *code,
            (_, value) => return Err(value.type_error("another type")),
        }
        Ok(())
    }

    fn edit_map(
        &mut self,
        _: Field,
        keys: &[Key<'_>],
        change: &mut dyn FnMut(&mut MapMut<'_>) -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        change(&mut MapMut::Tree(index::map_at_mut(&mut self.attributes, keys)?))
    }
}

/// Functions of every form.
pub(crate) const FUNCTIONS: &[Function] = &[
    Function {
        name: "set",
        parameters: &[Parameter::new("Target", ParameterKind::Path), Parameter::new("Value", ParameterKind::Any)],
        build: |arguments| Ok(Callable::editor(Set(arguments.path(0)?, arguments.expression(1)?))),
    },
    Function {
        name: "clear",
        parameters: &[Parameter::new("Target", ParameterKind::MapPath)],
        build: |arguments| Ok(Callable::editor(Clear(arguments.path(0)?))),
    },
    Function {
        name: "Upper",
        parameters: &[Parameter::new("Target", ParameterKind::String)],
        build: |_| {
            Ok(Callable::pure(|arguments| match arguments {
                [Value::String(text)] => Ok(Value::string(text.to_ascii_uppercase())),
                _ => Ok(Value::Nil),
            }))
        },
    },
    Function {
        name: "Join",
        parameters: &[
            Parameter::new("Vals", ParameterKind::ListOf(&ParameterKind::StringLike)),
            Parameter::optional("Delimiter", ParameterKind::String),
        ],
        build: |_| {
            Ok(Callable::pure(|arguments| match arguments {
                [Value::List(list), delimiter] => {
                    let text = |value: Value<'_>| match value {
                        Value::String(text) => text.into_owned(),
                        _ => Vec::new(),
                    };
                    let delimiter = text(std::mem::take(delimiter));
                    Ok(Value::string(list.iter().map(text).collect::<Vec<_>>().join(&delimiter[..])))
                }
                _ => Ok(Value::Nil),
            }))
        },
    },
    Function {
        name: "First",
        parameters: &[Parameter::new("Values", ParameterKind::ListOf(&ParameterKind::Any))],
        build: |arguments| Ok(Callable::converter(First(arguments.expressions(0)?))),
    },
    Function {
        name: "Apply",
        parameters: &[
            Parameter::new("Target", ParameterKind::String),
            Parameter::new("Function", ParameterKind::Function),
        ],
        build: |arguments| {
            let function = arguments.function(1)?.ok_or_else(|| BuildError::new("no function"))?;
            Ok(Callable::converter(Apply(arguments.expression(0)?, function)))
        },
    },
    Function {
        name: "Literals",
        parameters: &[
            Parameter::optional("Text", ParameterKind::LiteralString),
            Parameter::optional("Number", ParameterKind::LiteralInt),
            Parameter::optional("Ratio", ParameterKind::LiteralFloat),
            Parameter::optional("Is", ParameterKind::LiteralBool),
            Parameter::optional("Raw", ParameterKind::LiteralBytes),
            Parameter::optional("Texts", ParameterKind::ListOf(&ParameterKind::LiteralString)),
            Parameter::optional("Kind", ParameterKind::Enum),
        ],
        build: literals,
    },
    Function {
        name: "Split",
        parameters: &[],
        build: |_| {
            Ok(Callable::pure(|_| {
                Ok(Value::List(List::values(ListKind::Strings, vec![Value::str("x"), Value::str("y")])))
            }))
        },
    },
    Function { name: "Now", parameters: &[], build: |_| Ok(Callable::converter(Now)) },
    Function {
        name: "Duration",
        parameters: &[Parameter::new("Nanos", ParameterKind::Int)],
        build: |_| {
            Ok(Callable::pure(|arguments| match arguments {
                [Value::Int(nanos)] => Ok(Value::Duration(*nanos)),
                _ => Ok(Value::Nil),
            }))
        },
    },
    Function {
        name: "IsText",
        parameters: &[Parameter::new("Target", ParameterKind::Any)],
        build: |_| Ok(Callable::pure(|arguments| Ok(Value::Bool(matches!(arguments, [Value::String(_)]))))),
    },
];

fn literals(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    if arguments.literal_int(1)? == Some(13) {
        return Err(BuildError::new("13 is refused"));
    }
    Ok(Callable::pure(|_| Ok(Value::Nil)))
}

struct Set(PathExpression, Expression);

impl Editor for Set {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        execution.set_to(&self.0, &self.1)
    }
}

struct Clear(PathExpression);

impl Editor for Clear {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        execution.edit_map(&self.0, &mut |map| {
            map.clear();
            Ok(())
        })
    }
}

struct First(Vec<Expression>);

impl Converter for First {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        for expression in &self.0 {
            let value = expression.get(evaluation)?;
            if !value.is_nil() {
                return Ok(value);
            }
        }
        Ok(Value::Nil)
    }
}

struct Apply(Expression, FunctionArgument);

impl Converter for Apply {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        let input = self.0.string(evaluation)?.into_owned();
        Ok(self.1.call(evaluation, &input)?.into_owned())
    }
}

struct Now;

impl Converter for Now {
    fn call<'c>(&'c self, evaluation: &Evaluation<'c>) -> Result<Value<'c>, EvalError> {
        Ok(Value::Time(Time::from_unix_nanos(evaluation.environment().unix_nanos())))
    }
}

pub(crate) fn functions() -> Functions {
    Functions::default().with(FUNCTIONS)
}

pub(crate) fn compiler(functions: &Functions) -> Compiler<'_> {
    Compiler { context: ITEM, functions, prefix: PathPrefix::Implied }
}

/// Executes a statement on an item.
///
/// # Panics
/// When it can't be compiled.
pub(crate) fn execute(item: &mut Item, state: &mut State, statement: &str) -> Result<bool, EvalError> {
    let functions = functions();
    let statement = compiler(&functions).statement(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    let environment = FixedEnvironment::new(2_000_000_000, 1);
    statement.execute(&mut Execution::new(item, state, &environment))
}

/// Whether a condition holds for [`Item::new`].
///
/// # Panics
/// When it can't be compiled.
pub(crate) fn holds(condition: &str) -> Result<bool, EvalError> {
    let functions = functions();
    let condition = compiler(&functions).condition(condition).unwrap_or_else(|error| panic!("{condition}: {error}"));
    let (item, state, environment) = (Item::new(), State::default(), FixedEnvironment::new(2_000_000_000, 1));
    condition.evaluate(&Evaluation::new(&item, &state, &environment))
}

/// The error of compiling a statement.
///
/// # Panics
/// When there is none.
pub(crate) fn refused(statement: &str) -> CompileError {
    compiler(&functions()).statement(statement).expect_err(statement)
}
