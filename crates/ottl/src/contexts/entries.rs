//! Resources and instrumentation scopes as items of their own.

use otelcore_pdata::edit::{ResourceMut, ScopeMut};

use super::access::{ChangeMap, edit_attributes, get_resource, get_scope, no_map, set_resource, set_scope};
use super::request::{get_request, read_only};
use super::{ContextMut, ContextView, Field, RequestMetadata, ResourceField, ScopeField};
use crate::error::EvalError;
use crate::index::Key;
use crate::value::Value;

/// A resource under edit.
pub struct ResourceContext<'a, 'b> {
    /// The resource.
    pub resource: &'a mut ResourceMut<'b>,
    /// The request with which it came.
    pub request: Option<&'a dyn RequestMetadata>,
}

/// An instrumentation scope under edit.
pub struct ScopeContext<'a, 'b> {
    /// The scope.
    pub scope: &'a mut ScopeMut<'b>,
    /// The request with which it came.
    pub request: Option<&'a dyn RequestMetadata>,
}

impl ContextView for ResourceContext<'_, '_> {
    fn get<'c>(&'c self, field: Field, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        match field {
            Field::Resource(field) => get_resource(&*self.resource, field, keys),
            Field::Request(field) => get_request(self.request, field, keys),
            _ => Ok(Value::Nil),
        }
    }
}

impl ContextMut for ResourceContext<'_, '_> {
    fn set(&mut self, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
        match field {
            Field::Resource(field) => set_resource(self.resource, field, keys, value),
            Field::Request(field) => Err(read_only(field)),
            _ => Ok(()),
        }
    }

    fn edit_map(&mut self, field: Field, keys: &[Key<'_>], change: &mut ChangeMap<'_>) -> Result<(), EvalError> {
        match field {
            Field::Resource(ResourceField::Attributes) => edit_attributes(self.resource.attributes(), keys, change),
            Field::Request(field) => Err(read_only(field)),
            other => Err(no_map(&self.get(other, keys)?)),
        }
    }
}

impl ContextView for ScopeContext<'_, '_> {
    fn get<'c>(&'c self, field: Field, keys: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        match field {
            Field::Scope(field) => get_scope(&*self.scope, field, keys),
            Field::Resource(field) => get_resource(&*self.scope, field, keys),
            Field::Request(field) => get_request(self.request, field, keys),
            _ => Ok(Value::Nil),
        }
    }
}

impl ContextMut for ScopeContext<'_, '_> {
    fn set(&mut self, field: Field, keys: &[Key<'_>], value: &Value<'_>) -> Result<(), EvalError> {
        match field {
            Field::Scope(field) => set_scope(self.scope, field, keys, value),
            Field::Resource(field) => set_resource(&mut self.scope.resource_mut(), field, keys, value),
            Field::Request(field) => Err(read_only(field)),
            _ => Ok(()),
        }
    }

    fn edit_map(&mut self, field: Field, keys: &[Key<'_>], change: &mut ChangeMap<'_>) -> Result<(), EvalError> {
        match field {
            Field::Scope(ScopeField::Attributes) => edit_attributes(self.scope.attributes(), keys, change),
            Field::Resource(ResourceField::Attributes) => {
                edit_attributes(self.scope.resource_mut().attributes(), keys, change)
            }
            Field::Request(field) => Err(read_only(field)),
            other => Err(no_map(&self.get(other, keys)?)),
        }
    }
}
