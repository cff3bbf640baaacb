//! The designs, as the trait calls them: by their own functions of the same names, which whoever knows the design calls directly.

mod slab;
mod slob;
mod slubs;
