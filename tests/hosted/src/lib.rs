//! Tests of whole machines in the host's memory: the boot of each architecture, and pages, slabs, vmalloc and the kernel's address space in service.
//!
//! They are a package of their own so that they are compiled without optimisation, beside libraries that are: tests instantiate the
//! generic code of nearly every crate, and compiling that takes longer than running it.
