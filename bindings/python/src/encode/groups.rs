//! Groups what an exporter is given by resource and scope.
//!
//! Equal resources and scopes are one, as in the SDK's encoder; asking Python whether two are equal is dear, so each
//! object is asked about once.

use std::collections::HashMap;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Positions of the objects of one resource, by scope, in the order of their first object.
pub(super) struct ResourceGroup<'py> {
    pub(super) resource: Bound<'py, PyAny>,
    pub(super) scopes: Vec<ScopeGroup<'py>>,
    scope_numbers: Numbers<'py>,
}

/// Positions of the objects of one scope.
pub(super) struct ScopeGroup<'py> {
    /// `None` in Python where there is none.
    pub(super) scope: Bound<'py, PyAny>,
    pub(super) positions: Vec<usize>,
}

/// The groups of a request so far.
pub(super) struct Groups<'py> {
    resources: Vec<ResourceGroup<'py>>,
    numbers: Numbers<'py>,
}

impl<'py> Groups<'py> {
    /// Groups a sequence of objects that have a `resource` and an `instrumentation_scope`; returns the objects too.
    pub(super) fn of(objects: &Bound<'py, PyAny>) -> PyResult<(Vec<Bound<'py, PyAny>>, Vec<ResourceGroup<'py>>)> {
        let py = objects.py();
        let objects: Vec<Bound<'py, PyAny>> = objects.try_iter()?.collect::<PyResult<_>>()?;
        let mut groups = Self { resources: Vec::new(), numbers: Numbers::new(py) };
        for (position, object) in objects.iter().enumerate() {
            let scope = object.getattr(intern!(py, "instrumentation_scope"))?;
            groups.add(position, object.getattr(intern!(py, "resource"))?, scope)?;
        }
        Ok((objects, groups.resources))
    }

    fn add(&mut self, position: usize, resource: Bound<'py, PyAny>, scope: Bound<'py, PyAny>) -> PyResult<()> {
        let py = resource.py();
        let number = self.numbers.number(&resource)?;
        if number == self.resources.len() {
            self.resources.push(ResourceGroup { resource, scopes: Vec::new(), scope_numbers: Numbers::new(py) });
        }
        let Some(group) = self.resources.get_mut(number) else { return Ok(()) };
        let number = group.scope_numbers.number(&scope)?;
        if number == group.scopes.len() {
            group.scopes.push(ScopeGroup { scope, positions: Vec::new() });
        }
        if let Some(group) = group.scopes.get_mut(number) {
            group.positions.push(position);
        }
        Ok(())
    }
}

/// Numbers objects from zero; equal ones have the same number.
struct Numbers<'py> {
    by_value: Bound<'py, PyDict>,
    /// By address. The objects are kept, so that no other one gets the address.
    by_object: HashMap<usize, (usize, Bound<'py, PyAny>)>,
}

impl<'py> Numbers<'py> {
    fn new(py: Python<'py>) -> Self {
        Self { by_value: PyDict::new(py), by_object: HashMap::new() }
    }

    fn number(&mut self, object: &Bound<'py, PyAny>) -> PyResult<usize> {
        let address = object.as_ptr() as usize;
        if let Some((number, _)) = self.by_object.get(&address) {
            return Ok(*number);
        }
        let number = match self.by_value.get_item(object)? {
            Some(number) => number.extract()?,
            None => {
                let number = self.by_value.len();
                self.by_value.set_item(object, number)?;
                number
            }
        };
        self.by_object.insert(address, (number, object.clone()));
        Ok(number)
    }
}
