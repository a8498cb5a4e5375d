//! Calls: the arguments checked against the parameters.

use super::{CompileError, Compiler};
use crate::evaluate::{Call, Callee, Expression, FunctionArgument, Keys, Node};
use crate::function::{Argument, Arguments, Callable, Function, Parameter, ParameterKind};
use crate::syntax::{self, Operand, Place, ValueKind};
use crate::value::Value;

impl Compiler<'_> {
    /// Builds a call. Arguments that a pure function leaves are bound to it by [`Compiler::converter`].
    pub(super) fn call(&self, call: &syntax::Call) -> Result<Callable, CompileError> {
        let (_, callable, _) = self.built_call(call)?;
        Ok(callable)
    }

    /// Builds the call of a converter.
    pub(super) fn converter(&self, call: &syntax::Call) -> Result<Call, CompileError> {
        let (_, callable, arguments) = self.built_call(call)?;
        let callee = callee(callable, arguments, &call.name, &call.place)?;
        Ok(Call { callee, keys: self.keys(&call.keys)? })
    }

    fn built_call(&self, call: &syntax::Call) -> Result<(Function, Callable, Arguments), CompileError> {
        let Some(function) = self.functions.get(&call.name) else {
            return Err(self.undefined(&call.name, call.place.clone(), &format!("undefined function {:?}", call.name)));
        };
        let mut arguments = self
            .arguments(call, function.parameters)
            .map_err(|error| error.within(&format!("error while parsing arguments for call to {:?}", call.name)))?;
        let callable = (function.build)(&mut arguments)
            .map_err(|error| CompileError::new(call.place.clone(), format!("couldn't create function: {error}")))?;
        Ok((*function, callable, arguments))
    }

    fn undefined(&self, name: &str, place: Place, message: &str) -> CompileError {
        CompileError::new(place, message).with_nearest(name, self.functions.names())
    }

    fn arguments(&self, call: &syntax::Call, parameters: &[Parameter]) -> Result<Arguments, CompileError> {
        let mut named = call.arguments.iter().skip_while(|argument| argument.name.is_none());
        if let Some(unnamed) = named.find(|argument| argument.name.is_none()) {
            let message = "unnamed argument used after named argument";
            return Err(CompileError::new(unnamed.value.place.clone(), message));
        }
        let required = parameters.iter().filter(|parameter| !parameter.is_optional).count();
        let received = call.arguments.len();
        if received < required || received > parameters.len() {
            let expected = parameters.len();
            let message = format!("incorrect number of arguments. Expected: {expected} Received: {received}");
            return Err(CompileError::new(call.place.clone(), message));
        }
        let mut arguments: Vec<Option<Argument>> = parameters.iter().map(|_| None).collect();
        for (i, argument) in call.arguments.iter().enumerate() {
            let index = match &argument.name {
                None => i,
                Some(name) => parameter_of(name, parameters, &argument.value.place)?,
            };
            let (Some(parameter), Some(slot)) = (parameters.get(index), arguments.get_mut(index)) else { continue };
            if slot.is_some() {
                let message = format!("the parameter {} is given twice", written_name(parameter));
                return Err(CompileError::new(argument.value.place.clone(), message));
            }
            let checked = self
                .argument(parameter.kind, &argument.value)
                .map_err(|error| error.within(&format!("invalid argument at position {i}")))?;
            *slot = Some(checked);
        }
        let missing = parameters
            .iter()
            .zip(&arguments)
            .find(|(parameter, argument)| !parameter.is_optional && argument.is_none());
        match missing {
            Some((parameter, _)) => {
                let message = format!("the parameter {} is missing", written_name(parameter));
                Err(CompileError::new(call.place.clone(), message))
            }
            None => Ok(Arguments::new(arguments)),
        }
    }

    fn argument(&self, kind: ParameterKind, value: &syntax::Value) -> Result<Argument, CompileError> {
        use ParameterKind as Kind;
        let must_be = |what: &str| CompileError::new(value.place.clone(), format!("must be {what}"));
        let literal = |literal: Value<'static>| Ok(Argument::Literal(literal));
        if kind.is_getter() {
            return self.getter(kind, value);
        }
        match (kind, &value.kind) {
            (Kind::ListOf(kind), ValueKind::List(elements)) => {
                let element = |(i, element)| {
                    self.argument(*kind, element).map_err(|error: CompileError| {
                        error.within(&format!("error while parsing list argument at index {i}"))
                    })
                };
                elements.iter().enumerate().map(element).collect::<Result<_, _>>().map(Argument::List)
            }
            (Kind::ListOf(kind), _) => Err(must_be(&format!("a list of type {}", go_name(*kind)))),
            (Kind::LiteralString, ValueKind::String(v)) => literal(Value::string(v.as_bytes())),
            (Kind::LiteralString, _) => Err(must_be("a string")),
            (Kind::LiteralInt, ValueKind::Operand(Operand::Int(v))) => literal(Value::Int(*v)),
            (Kind::LiteralInt, _) => Err(must_be("an int")),
            (Kind::LiteralFloat, ValueKind::Operand(Operand::Float(v))) => literal(Value::Double(*v)),
            (Kind::LiteralFloat, _) => Err(must_be("a float")),
            (Kind::LiteralBool, ValueKind::Bool(v)) => literal(Value::Bool(*v)),
            (Kind::LiteralBool, _) => Err(must_be("a bool")),
            (Kind::LiteralBytes, ValueKind::Bytes(v)) => literal(Value::Bytes(v.clone().into())),
            (Kind::LiteralBytes, _) => {
                Err(CompileError::new(value.place.clone(), "slice parameter must be a byte slice literal"))
            }
            (Kind::Enum, ValueKind::Enum(symbol)) => match (self.context.enum_value)(symbol) {
                Some(v) => literal(Value::Int(v)),
                None => Err(must_be("an Enum").with_nearest(symbol, self.context.enum_symbols.iter().copied())),
            },
            (Kind::Enum, _) => Err(must_be("an Enum")),
            (Kind::Path | Kind::MapPath | Kind::ListPath, ValueKind::Operand(Operand::Path(path))) => {
                self.path(path).map(Argument::Path)
            }
            (Kind::Path | Kind::MapPath | Kind::ListPath, _) => Err(must_be("a path")),
            (Kind::Function, ValueKind::Enum(name) | ValueKind::FunctionName(name)) => {
                self.function_argument(name, &value.place).map(Argument::Function)
            }
            _ => Err(CompileError::new(value.place.clone(), "invalid function name given")),
        }
    }

    /// An expression. The value of a literal is converted now.
    fn getter(&self, kind: ParameterKind, value: &syntax::Value) -> Result<Argument, CompileError> {
        let mut expression = self.expression(value)?;
        if let Node::Literal(literal) = &mut expression.node {
            let converted = crate::evaluate::convert(kind, std::mem::take(literal));
            let converted = converted.map_err(|error| CompileError::new(value.place.clone(), error.to_string()))?;
            *literal = converted.into_owned();
        }
        Ok(Argument::Expression(kind, expression))
    }

    /// A converter that is called with one string.
    fn function_argument(&self, name: &str, place: &Place) -> Result<FunctionArgument, CompileError> {
        let Some(function) = self.functions.get(name) else {
            return Err(self.undefined(name, place.clone(), &format!("undefined function {name}")));
        };
        let [parameter] = function.parameters else {
            let expected = function.parameters.len();
            let message = format!("incorrect number of arguments. Expected: {expected} Received: 1");
            return Err(CompileError::new(place.clone(), message));
        };
        if parameter.kind != ParameterKind::String || parameter.is_optional {
            return Err(CompileError::new(place.clone(), format!("{name} does not take one string")));
        }
        let input = Argument::Expression(ParameterKind::String, Expression::new(Node::Input));
        let mut arguments = Arguments::new(vec![Some(input)]);
        let callable = (function.build)(&mut arguments)
            .map_err(|error| CompileError::new(place.clone(), format!("couldn't create function: {error}")))?;
        let callee = callee(callable, arguments, name, place)?;
        Ok(FunctionArgument { call: Box::new(Call { callee, keys: Keys::NONE }) })
    }
}

/// What is called for a converter.
fn callee(callable: Callable, arguments: Arguments, name: &str, place: &Place) -> Result<Callee, CompileError> {
    match callable {
        Callable::Pure(function) => Ok(Callee::Pure(function, arguments.into_inner())),
        Callable::Converter(converter) => Ok(Callee::Converter(converter)),
        Callable::Editor(_) => Err(CompileError::new(place.clone(), format!("{name} is not a converter"))),
    }
}

fn parameter_of(name: &str, parameters: &[Parameter], place: &Place) -> Result<usize, CompileError> {
    let field = to_camel(name);
    parameters.iter().position(|parameter| parameter.name == field).ok_or_else(|| {
        let names: Vec<String> = parameters.iter().map(written_name).collect();
        CompileError::new(place.clone(), format!("no such parameter: {name}"))
            .with_nearest(name, names.iter().map(String::as_str))
    })
}

/// The name of a Go field that a statement means with `name`: letters after `_` and digits are capitals, a capital
/// after a capital is not.
fn to_camel(name: &str) -> String {
    let name = if name == "ID" { "id" } else { name };
    let mut camel = String::with_capacity(name.len());
    let (mut capital, mut was_capital) = (true, false);
    for c in name.chars() {
        let is_capital = c.is_ascii_uppercase();
        let written = if capital {
            c.to_ascii_uppercase()
        } else if was_capital && is_capital {
            c.to_ascii_lowercase()
        } else {
            c
        };
        was_capital = is_capital;
        if c.is_ascii_alphanumeric() {
            camel.push(written);
        }
        capital = !c.is_ascii_alphabetic();
    }
    camel
}

/// The name of a parameter as statements write it.
fn written_name(parameter: &Parameter) -> String {
    let mut written = String::new();
    for (i, c) in parameter.name.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            written.push('_');
        }
        written.push(c.to_ascii_lowercase());
    }
    written
}

/// The name of the Go type of a parameter.
fn go_name(kind: ParameterKind) -> &'static str {
    use ParameterKind as Kind;
    match kind {
        Kind::Any => "Getter",
        Kind::String => "StringGetter",
        Kind::StringLike => "StringLikeGetter",
        Kind::Int => "IntGetter",
        Kind::IntLike => "IntLikeGetter",
        Kind::Float => "FloatGetter",
        Kind::FloatLike => "FloatLikeGetter",
        Kind::Bool => "BoolGetter",
        Kind::BoolLike => "BoolLikeGetter",
        Kind::BytesLike => "ByteSliceLikeGetter",
        Kind::Map => "PMapGetter",
        Kind::List => "PSliceGetter",
        Kind::Time => "TimeGetter",
        Kind::Duration => "DurationGetter",
        Kind::ListOf(_) => "list",
        Kind::LiteralString => "string",
        Kind::LiteralInt => "int64",
        Kind::LiteralFloat => "float64",
        Kind::LiteralBool => "bool",
        Kind::LiteralBytes => "uint8",
        Kind::Enum => "Enum",
        Kind::Path => "GetSetter",
        Kind::MapPath => "PMapGetSetter",
        Kind::ListPath => "PSliceGetSetter",
        Kind::Function => "FunctionGetter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_name_is_the_go_field_that_go_finds() {
        for (name, field) in [
            ("regex_pattern", "RegexPattern"),
            ("x_path", "XPath"),
            ("xpath", "Xpath"),
            ("xPath", "XPath"),
            ("xPATH", "XPath"),
            ("named_captures_only", "NamedCapturesOnly"),
            ("utf8_safe", "Utf8Safe"),
            ("utf8safe", "Utf8Safe"),
        ] {
            assert_eq!(to_camel(name), field, "{name}");
        }
        let parameter = Parameter::new("NamedCapturesOnly", ParameterKind::LiteralBool);
        assert_eq!(written_name(&parameter), "named_captures_only");
    }
}
