//! `resource.proto` and `common.proto`.

use super::writer::writer;

writer! {
    /// A resource.
    ResourceWriter in resource {
        /// How many attributes the sender dropped.
        DROPPED_ATTRIBUTES_COUNT dropped_attributes_count: uint32,
        @message /// Adds a reference to an entity.
        ENTITY_REFS entity_ref: EntityRefWriter SMALL,
        @attributes /// Its attributes.
        ATTRIBUTES attributes,
    }
}

writer! {
    /// A reference to an entity among the resource's attributes.
    EntityRefWriter in entity_ref {
        /// Schema of the entity.
        SCHEMA_URL schema_url: text,
        /// Its type.
        TYPE entity_type: text,
        /// Adds the key of an attribute that identifies the entity.
        ID_KEYS id_key: each_text,
        /// Adds the key of an attribute that describes the entity.
        DESCRIPTION_KEYS description_key: each_text,
    }
}

writer! {
    /// An instrumentation scope.
    ScopeWriter in scope {
        /// Name of the library.
        NAME name: text,
        /// Its version.
        VERSION version: text,
        /// How many attributes the sender dropped.
        DROPPED_ATTRIBUTES_COUNT dropped_attributes_count: uint32,
        @attributes /// Its attributes.
        ATTRIBUTES attributes,
    }
}
