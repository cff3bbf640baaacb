//! The one list of all formats, and a way to choose one at run time.
//!
//! A format is a type, so that the walker is compiled for each. Whoever learns only at run time which one a machine has
//! (the boot, a command's option) holds a [`FormatKind`] and hands it generic code:
//!
//! ```
//! use pagewright_pagetable::Format;
//! use pagewright_pagetable::format::{FormatKind, WithFormat};
//!
//! struct Levels;
//! impl WithFormat for Levels {
//!     type Out = usize;
//!     fn run<F: Format>(self, _: F) -> usize {
//!         F::SHAPE.count()
//!     }
//! }
//! assert_eq!(FormatKind::X86Level5.with(Levels), 5);
//! assert!(FormatKind::ALL.iter().all(|kind| kind.with(Levels) >= 2));
//! ```

use super::Format;
use crate::shape::Shape;

/// Calls a macro with every format: `$then! { Kind: Type, ... }`, where `Kind` is the name in [`FormatKind`] and `Type` has
/// a [`Default`]. For code that needs each format once, such as a test for each.
#[macro_export]
macro_rules! for_each_format {
    ($then:ident) => {
        $then! {
            X86Level4: $crate::format::x86::X86Level4,
            X86Level5: $crate::format::x86::X86Level5,
            Arm64Page4kVa39: $crate::format::arm64::Arm64Page4kVa39,
            Arm64Page4kVa48: $crate::format::arm64::Arm64Page4kVa48,
            Arm64Page16kVa36: $crate::format::arm64::Arm64Page16kVa36,
            Arm64Page16kVa47: $crate::format::arm64::Arm64Page16kVa47,
            Arm64Page16kVa48: $crate::format::arm64::Arm64Page16kVa48,
            Arm64Page64kVa42: $crate::format::arm64::Arm64Page64kVa42,
            Arm64Page64kVa48: $crate::format::arm64::Arm64Page64kVa48,
            Arm64Page64kVa52: $crate::format::arm64::Arm64Page64kVa52,
            ArmShort: $crate::format::arm::short::ArmShort,
            ArmLpae: $crate::format::arm::lpae::ArmLpae,
            I386: $crate::format::x86::i386::I386,
            I386Pae: $crate::format::x86::i386::I386Pae,
        }
    };
}

/// Something that is done with a format, whichever it is.
pub trait WithFormat {
    /// What comes of it.
    type Out;

    /// Does it. [`FormatKind::with`] hands over the format with its default configuration.
    fn run<F: Format>(self, format: F) -> Self::Out;
}

macro_rules! kinds {
    ($($kind:ident: $format:ty,)*) => {
        /// A format, as a value.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum FormatKind {
            $(
                #[doc = concat!("[`", stringify!($format), "`].")]
                $kind,
            )*
        }

        impl FormatKind {
            /// Every format.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The format's name, as in messages.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => <$format as Format>::NAME,)*
                }
            }

            /// The format's tree.
            pub const fn shape(self) -> &'static Shape {
                match self {
                    $(Self::$kind => <$format as Format>::TREE,)*
                }
            }

            /// Does `what` with the format.
            pub fn with<W: WithFormat>(self, what: W) -> W::Out {
                match self {
                    $(Self::$kind => what.run(<$format>::default()),)*
                }
            }
        }
    };
}

for_each_format!(kinds);

impl core::fmt::Display for FormatKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}
