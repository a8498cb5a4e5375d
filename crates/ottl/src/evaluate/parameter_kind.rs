//! What the parameters of functions take.

/// What a parameter takes. `Like` kinds convert the value; the others refuse values of other types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Any value (`Getter`).
    Any,
    /// A string (`StringGetter`).
    String,
    /// A string, or what is converted to one; `nil` stays `nil` (`StringLikeGetter`).
    StringLike,
    /// An integer (`IntGetter`).
    Int,
    /// An integer, or what is converted to one (`IntLikeGetter`).
    IntLike,
    /// A double (`FloatGetter`).
    Float,
    /// A double, or what is converted to one (`FloatLikeGetter`).
    FloatLike,
    /// A boolean (`BoolGetter`).
    Bool,
    /// A boolean, or what is converted to one (`BoolLikeGetter`).
    BoolLike,
    /// Bytes, or what is converted to them (`ByteSliceLikeGetter`).
    BytesLike,
    /// A map (`PMapGetter`).
    Map,
    /// A list; those of Go types become lists of pdata (`PSliceGetter`).
    List,
    /// A point in time (`TimeGetter`).
    Time,
    /// A duration (`DurationGetter`).
    Duration,
    /// A list literal whose elements are each of this kind (`[]StringGetter`, `[]string` ...).
    ListOf(&'static Self),
    /// A string literal (`string`).
    LiteralString,
    /// An integer literal without a sign (`int64`).
    LiteralInt,
    /// A double literal without a sign (`float64`).
    LiteralFloat,
    /// `true` or `false` (`bool`).
    LiteralBool,
    /// A bytes literal (`[]byte`).
    LiteralBytes,
    /// The symbol of an enum (`Enum`).
    Enum,
    /// A path (`Setter`, `GetSetter`).
    Path,
    /// A path whose value is a map (`PMapGetSetter`).
    MapPath,
    /// A path whose value is a list (`PSliceGetSetter`).
    ListPath,
    /// The name of a converter that takes one string (`FunctionGetter`).
    Function,
}

impl ParameterKind {
    /// Whether the argument is an expression that is evaluated for each item.
    #[must_use]
    pub const fn is_getter(self) -> bool {
        matches!(
            self,
            Self::Any
                | Self::String
                | Self::StringLike
                | Self::Int
                | Self::IntLike
                | Self::Float
                | Self::FloatLike
                | Self::Bool
                | Self::BoolLike
                | Self::BytesLike
                | Self::Map
                | Self::List
                | Self::Time
                | Self::Duration
        )
    }
}
