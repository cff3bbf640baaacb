//! Modules: files from outside that are laid out, loaded and relocated.

use pagewright_kspace::module::{Module, ModuleFile, ModuleLayout, Place};
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
            crate::shown(module.finish_init(&mut host));
            module.unload(&mut host);
        }
        Err(why) => crate::said(why),
    }
}
