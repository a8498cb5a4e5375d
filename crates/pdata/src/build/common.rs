//! `resource.proto` and `common.proto`.

use super::writer::writer;

writer! {
    /// A resource.
    ResourceWriter {
        /// How many attributes the sender dropped.
        2 dropped_attributes_count: uint32,
        message /// Adds a reference to an entity.
        3 entity_ref: EntityRefWriter SMALL,
        attributes /// Its attributes.
        1 attributes,
    }
}

writer! {
    /// A reference to an entity among the resource's attributes.
    EntityRefWriter {
        /// Schema of the entity.
        1 schema_url: text,
        /// Its type.
        2 entity_type: text,
        /// Adds the key of an attribute that identifies the entity.
        3 id_key: each_text,
        /// Adds the key of an attribute that describes the entity.
        4 description_key: each_text,
    }
}

writer! {
    /// An instrumentation scope.
    ScopeWriter {
        /// Name of the library.
        1 name: text,
        /// Its version.
        2 version: text,
        /// How many attributes the sender dropped.
        4 dropped_attributes_count: uint32,
        attributes /// Its attributes.
        3 attributes,
    }
}
