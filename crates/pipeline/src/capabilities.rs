//! Capabilities: what an extension offers to other components, found by the extension's id and the type of the value.
//!
//! An extension adds values to its [`OfferedCapabilities`]; a component asks for one with [`Capabilities::get`] when it is
//! created. Any crate may define a type of capability. Which extension must exist before another is declared by its
//! configuration ([`crate::ComponentConfig::dependencies`]); this module orders nothing and starts nothing.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use otelcore_config::ComponentId;

use crate::StartError;

/// A type that extensions offer and components ask for; usually a trait object, such as `dyn ServerAuth`.
pub trait Capability: 'static {
    /// What it is, for error messages: `server authenticator`.
    const NAME: &'static str;

    /// The error for an id that names no extension of the service.
    #[must_use]
    fn extension_not_found(id: &ComponentId) -> StartError {
        StartError::Config(format!(
            "failed to resolve {} \"{id}\": extension not found; configure it under `extensions:` and name it in `service::extensions`",
            Self::NAME
        ))
    }

    /// The error for an extension that does not offer it.
    #[must_use]
    fn not_offered(id: &ComponentId) -> StartError {
        StartError::Config(format!("failed to resolve {0} \"{id}\": requested extension is not a {0}", Self::NAME))
    }
}

/// What one extension offers: one value for each type.
#[derive(Default)]
pub struct OfferedCapabilities {
    /// By the type of the capability; each value is an `Rc` of it.
    values: BTreeMap<TypeId, Box<dyn Any>>,
}

impl std::fmt::Debug for OfferedCapabilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfferedCapabilities").field("len", &self.values.len()).finish()
    }
}

impl OfferedCapabilities {
    /// Offers a value. It replaces an earlier one of the same type.
    pub fn add<C: Capability + ?Sized>(&mut self, value: Rc<C>) {
        self.values.insert(TypeId::of::<C>(), Box::new(value));
    }

    /// The value of a type, if it is offered.
    #[must_use]
    pub fn get<C: Capability + ?Sized>(&self) -> Option<Rc<C>> {
        self.values.get(&TypeId::of::<C>())?.downcast_ref::<Rc<C>>().cloned()
    }
}

/// What the extensions of a collector offer, by their ids.
#[derive(Default)]
pub struct Capabilities {
    offered: BTreeMap<ComponentId, Rc<OfferedCapabilities>>,
    /// What the service itself offers.
    of_service: OfferedCapabilities,
    /// The extensions that were asked for since [`Capabilities::take_used`] was called last.
    used: RefCell<BTreeSet<ComponentId>>,
}

impl std::fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(&self.offered).finish()
    }
}

impl Capabilities {
    /// Adds what an extension offers. One that offers nothing is added too, so that an error message can say so.
    pub fn add(&mut self, id: &ComponentId, offered: impl Into<Rc<OfferedCapabilities>>) {
        self.offered.insert(id.clone(), offered.into());
    }

    /// Adds what the service itself offers to every component.
    pub fn add_of_service<C: Capability + ?Sized>(&mut self, value: Rc<C>) {
        self.of_service.add(value);
    }

    /// What the service itself offers; `None` for a type that it does not offer, or without a service.
    #[must_use]
    pub fn of_service<C: Capability + ?Sized>(&self) -> Option<Rc<C>> {
        self.of_service.get()
    }

    /// Takes the ids of the extensions that were asked for since the last call.
    #[must_use]
    pub fn take_used(&self) -> BTreeSet<ComponentId> {
        self.used.take()
    }

    /// The capability that the extension `id` offers.
    ///
    /// # Errors
    /// If there is no such extension, or if it offers something else.
    pub fn get<C: Capability + ?Sized>(&self, id: &ComponentId) -> Result<Rc<C>, StartError> {
        let offered = self.offered.get(id).ok_or_else(|| C::extension_not_found(id))?;
        self.used.borrow_mut().insert(id.clone());
        offered.get().ok_or_else(|| C::not_offered(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    trait Clock {
        fn hour(&self) -> u8;
    }

    impl Capability for dyn Clock {
        const NAME: &'static str = "clock";
    }

    struct Noon;

    impl Clock for Noon {
        fn hour(&self) -> u8 {
            12
        }
    }

    struct Limit(u32);

    impl Capability for Limit {
        const NAME: &'static str = "limit";
    }

    #[test]
    fn capability_is_found_by_extension_id_and_type() {
        let (noon, other): (ComponentId, ComponentId) = ("noon".parse().unwrap(), "noon/2".parse().unwrap());
        let mut offered = OfferedCapabilities::default();
        offered.add::<dyn Clock>(Rc::new(Noon));
        let mut all = Capabilities::default();
        all.add(&noon, offered);
        assert_eq!(all.get::<dyn Clock>(&noon).unwrap().hour(), 12);
        assert!(all.of_service::<dyn Clock>().is_none());
        all.add_of_service(Rc::new(Limit(3)));
        assert_eq!(all.of_service::<Limit>().unwrap().0, 3);
        let error = all.get::<Limit>(&noon).err().unwrap();
        assert_eq!(error.to_string(), "failed to resolve limit \"noon\": requested extension is not a limit");
        let error = all.get::<dyn Clock>(&other).err().unwrap();
        assert_eq!(
            error.to_string(),
            "failed to resolve clock \"noon/2\": extension not found; configure it under `extensions:` and name it in `service::extensions`"
        );
    }

    #[test]
    fn extension_offers_values_of_several_types() {
        let mut offered = OfferedCapabilities::default();
        offered.add::<dyn Clock>(Rc::new(Noon));
        offered.add(Rc::new(Limit(1)));
        offered.add(Rc::new(Limit(2)));
        assert_eq!(offered.get::<Limit>().unwrap().0, 2);
        assert!(offered.get::<dyn Clock>().is_some());
    }
}
