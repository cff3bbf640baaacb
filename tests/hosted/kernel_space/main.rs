//! The kernel's virtual memory on hosted machines: what is mapped is used through the software MMU, whose TLBs forget nothing by themselves.

mod caches;
mod highmem;
mod ioremap;
mod stacks;
mod world;
