//! Modules: files from outside that are laid out, loaded and relocated.

use pagewright_addr::VirtAddr;
use pagewright_kspace::module::{Module, ModuleFile, ModuleLayout, Part, Place};
use pagewright_sim::modules::{FlatKernel, machine_of};

/// Loads whatever the bytes are, into memory of 4 MiB.
pub fn module(data: &[u8]) {
    let arch = machine_of(data);
    let file = match ModuleFile::parse(data, arch) {
        Ok(file) => file,
        Err(why) => return crate::said(why),
    };
    file.modinfo().for_each(crate::shown);
    file.undefined().for_each(crate::said);
    let mut places = vec![Place::Nowhere; file.sections()];
    let layout = match ModuleLayout::new(&file, 4096, &mut places) {
        Ok(layout) => layout,
        Err(why) => return crate::said(why),
    };
    let mut host = FlatKernel::new(arch, 4 << 20);
    match Module::load(&file, &layout, &mut host) {
        Ok(mut module) => {
            look_up(&module, &mut host, data);
            crate::shown(module.finish_init(&mut host));
            look_up(&module, &mut host, data);
            module.unload(&mut host);
        }
        Err(why) => crate::said(why),
    }
}

/// Asks for whatever the file may name: exports, and where to go on after faults, which is in the module as it is now.
fn look_up(module: &Module, host: &mut FlatKernel, data: &[u8]) {
    let names = data.split(|&byte| byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    for name in names.filter(|name| !name.is_empty()).take(256).chain([""]) {
        crate::shown(module.find_export(host, name));
    }
    let parts: Vec<_> = [Part::Core, Part::Init].into_iter().filter_map(|part| module.range(part)).collect();
    let own = |at: u64| parts.iter().any(|range| range.contains(VirtAddr::new(at)));
    let said = data.chunks_exact(4).map(|word| u64::from(u32::from_le_bytes(word.try_into().unwrap())));
    // As they stand there, and reckoned from where the parts begin; also from where one was: all start at the same page.
    for word in said.take(4096).chain((0..256).map(|n| n * 4)) {
        let start = module.range(Part::Core).map_or(0, |range| range.start.get());
        for at in [word, start.wrapping_add(word % (64 << 10))] {
            if let Some(fixup) = module.search_extable(host, VirtAddr::new(at)) {
                assert!(own(at) && own(fixup.address), "{at:#x} leads to {fixup:x?}, outside of {parts:x?}");
            }
        }
    }
}
