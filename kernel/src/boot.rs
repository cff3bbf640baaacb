//! A boot on the metal: the library's steps over RAM by physical address.

use crate::direct_map::DirectMap;
use pagewright::{Boot, Running};
use pagewright_addr::NodeId;
use pagewright_firmware::config::KernelConfig;
use pagewright_firmware::{Cpus, Firmware, KernelImage, Machine};

pub use pagewright::start::{StartError, Stopped, allocator_bytes};

/// A machine as an image tells of it: `image` on this firmware and these processors. The RAM disk and the command line are the
/// firmware's.
pub fn describe<'a>(
    config: KernelConfig,
    image: KernelImage,
    firmware: Firmware<'a>,
    cpus: Cpus,
) -> Machine<'a> {
    Machine { cpus, ..Machine::new(config, image, firmware) }
}

/// Takes the page allocator's tables from memblock and hands memory over to it.
///
/// # Errors
/// [`StartError`].
pub fn start_allocator<'a>(boot: &mut Boot<'_>, ram: &DirectMap) -> Result<Running<'a, 'a, 'a>, StartError> {
    // SAFETY: memblock has just given these bytes to nobody else, they stay reserved when it hands over, and whoever has the allocator
    // keeps the map.
    pagewright::start_allocator(boot, |range| unsafe { ram.carve(range) })
}

/// The initcalls, with the machine's processors on their nodes.
pub fn initcalls(boot: &mut Boot<'_>, running: &mut Running<'_, '_, '_>) {
    running.start_cpus(boot);
}

/// The node that a processor's first chunk was placed on.
pub fn node_of_cpu(boot: &Boot<'_>, cpu: u32) -> NodeId {
    boot.node_of_cpu(cpu)
}
