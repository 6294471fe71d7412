//! Enumerations of messages: strict, so that a value of a newer version is never taken for another.

/// The number of an enumeration's value that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this version does not know the value {0}")]
pub struct UnknownValue(pub i32);

/// Makes an enumeration of one of a message, each value with the one word for it. The unspecified value is none of them: what it means,
/// whoever parses the field decides.
macro_rules! enumeration {
    (
        $(#[$doc:meta])*
        pub enum $name:ident of $wire:ident {
            $( $(#[$value_doc:meta])* $value:ident = $word:literal, )+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( $(#[$value_doc])* $value, )+
        }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$( Self::$value, )+];

            /// The one word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$value => $word, )+
                }
            }

            /// The value that a word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }

            /// The value of a message; none if it is unspecified.
            pub fn from_message(number: i32) -> Result<Option<Self>, crate::resource::UnknownValue> {
                use crate::v1::$wire;
                Ok(match $wire::try_from(number).map_err(|_| crate::resource::UnknownValue(number))? {
                    $wire::Unspecified => None,
                    $( $wire::$value => Some(Self::$value), )+
                })
            }

            /// The value in a message.
            pub fn to_message(self) -> i32 {
                use crate::v1::$wire;
                match self {
                    $( Self::$value => $wire::$value.into(), )+
                }
            }
        }
    };
}

pub(super) use enumeration;
