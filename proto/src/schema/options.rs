use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use prost_reflect::{DynamicMessage, ExtensionDescriptor, FieldDescriptor, Value};

use super::{OPTIONS, pool};

/// What the `.proto` files say of a field beyond its type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldOptions {
    /// How requests and answers use it.
    pub behaviors: Vec<Behavior>,
    /// Where it comes from, if the control plane sets it.
    pub output: Option<Output>,
    /// It is never returned, and sealed on its own.
    pub secret: bool,
    /// The fields beside it, as dotted paths, that ask for this secret again when they change.
    pub secret_for: Vec<String>,
    /// It is not sent to edges.
    pub not_for_edges: bool,
    /// A valid value, as `--set` takes it.
    pub example: Option<String>,
    /// The fields beside it that cannot be set together with it.
    pub excludes: Vec<String>,
}

/// How requests and answers use a field (`google.api.field_behavior`, AIP-203).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// It must be set.
    Required,
    /// Requests do not set it.
    OutputOnly,
    /// Answers do not hold it.
    InputOnly,
    /// It is set on creation and never changes.
    Immutable,
    /// It is the name of the resource, which never changes.
    Identifier,
}

/// Where a field that is for output only comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// From the document: stored, kept by patches, not exported.
    State,
    /// From elsewhere, each time the resource is returned: never stored.
    Computed,
}

/// By the full name of the field: parsed once.
static OF_POOL: LazyLock<HashMap<String, FieldOptions>> = LazyLock::new(|| {
    let fields = pool().all_messages().flat_map(|message| message.fields().collect::<Vec<_>>());
    fields.map(|field| (field.full_name().to_owned(), FieldOptions::parse(&field))).collect()
});

static NONE: FieldOptions = FieldOptions {
    behaviors: Vec::new(),
    output: None,
    secret: false,
    secret_for: Vec::new(),
    not_for_edges: false,
    example: None,
    excludes: Vec::new(),
};

impl FieldOptions {
    /// The options of a field.
    pub fn of(field: &FieldDescriptor) -> Cow<'static, Self> {
        if field.parent_pool() == pool() {
            Cow::Borrowed(OF_POOL.get(field.full_name()).unwrap_or(&NONE))
        } else {
            Cow::Owned(Self::parse(field))
        }
    }

    /// The control plane sets it; what requests say of it is ignored.
    pub fn is_output(&self) -> bool {
        self.output.is_some() || self.is(Behavior::OutputOnly)
    }

    /// It is set on creation and never changes.
    pub fn is_fixed(&self) -> bool {
        self.is(Behavior::Immutable) || self.is(Behavior::Identifier)
    }

    /// Whether it behaves so.
    pub fn is(&self, behavior: Behavior) -> bool {
        self.behaviors.contains(&behavior)
    }

    fn parse(field: &FieldDescriptor) -> Self {
        let options = field.options();
        let own = |name: &str| field.parent_pool().get_extension_by_name(&format!("{OPTIONS}.{name}"));
        let flag = |name: &str| own(name).and_then(|it| options.get_extension(&it).as_bool()).unwrap_or_default();
        let behaviors = field.parent_pool().get_extension_by_name("google.api.field_behavior");
        let behaviors = behaviors.map(|it| list(&options, &it)).unwrap_or_default();
        let output = own("output").and_then(|it| options.get_extension(&it).as_enum_number());
        Self {
            behaviors: behaviors.iter().filter_map(|value| Behavior::of_number(value.as_enum_number()?)).collect(),
            output: match output {
                Some(1) => Some(Output::State),
                Some(2) => Some(Output::Computed),
                _ => None,
            },
            secret: flag("secret"),
            secret_for: own("secret_for").map(|it| texts(&options, &it)).unwrap_or_default(),
            not_for_edges: flag("not_for_edges"),
            example: own("example")
                .filter(|it| options.has_extension(it))
                .and_then(|it| options.get_extension(&it).as_str().map(str::to_owned)),
            excludes: own("excludes").map(|it| texts(&options, &it)).unwrap_or_default(),
        }
    }
}

impl Behavior {
    fn of_number(number: i32) -> Option<Self> {
        match number {
            2 => Some(Self::Required),
            3 => Some(Self::OutputOnly),
            4 => Some(Self::InputOnly),
            5 => Some(Self::Immutable),
            8 => Some(Self::Identifier),
            _ => None,
        }
    }
}

fn list(options: &DynamicMessage, extension: &ExtensionDescriptor) -> Vec<Value> {
    options.get_extension(extension).as_list().map(<[Value]>::to_vec).unwrap_or_default()
}

fn texts(options: &DynamicMessage, extension: &ExtensionDescriptor) -> Vec<String> {
    list(options, extension).iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}
