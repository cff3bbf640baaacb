//! Who uses whom: what one module exports another holds, and the kernel lets nothing go that is held.

use super::tables::{ALL, using};
use super::*;
use pagewright_kspace::module::{
    InitFailed, ModuleId, ModuleName, ModuleSlot, ModuleState, Modules, UnloadError,
};
use pagewright_sim::modules::elf::EXEC;
use pagewright_sim::modules::{FlatKernel, exporting};

const SLOTS: usize = 4;

/// A kernel without symbols of its own, and its modules.
struct Kernel<'m> {
    memory: FlatKernel,
    modules: Modules<'m>,
    arch: ModuleArch,
}

impl Kernel<'_> {
    fn load(&mut self, name: &str, elf: Elf) -> Result<ModuleId, String> {
        let bytes = elf.build();
        let file = ModuleFile::parse(&bytes, self.arch).unwrap();
        let mut places = vec![Place::Nowhere; file.sections()];
        let layout = ModuleLayout::new(&file, PAGE, &mut places).unwrap();
        self.modules.load(name, &file, &layout, &mut self.memory).map_err(|why| why.to_string())
    }

    /// Loads a module whose init function returns 0.
    fn live(&mut self, name: &str, elf: Elf) -> ModuleId {
        let id = self.load(name, elf).unwrap();
        self.modules.finish_init(id, 0, &mut self.memory).unwrap();
        id
    }

    fn unload(&mut self, id: ModuleId) -> Result<(), UnloadError> {
        self.modules.begin_unload(id)?;
        self.modules.finish_unload(id, &mut self.memory)
    }

    fn users(&self, id: ModuleId) -> Vec<&str> {
        self.modules.users(id).collect()
    }
}

/// On each processor.
fn each(test: impl Fn(&mut Kernel<'_>)) {
    for arch in ALL {
        let mut slots: [ModuleSlot; SLOTS] = Default::default();
        let mut uses = vec![u64::MAX; Modules::words(SLOTS)];
        let modules = Modules::new(&mut slots, &mut uses).unwrap();
        let mut memory = FlatKernel::new(arch, 1 << 20);
        memory.has_symbols = false;
        test(&mut Kernel { memory, modules, arch });
    }
}

/// `exporting`'s table of faults leads to a kernel's `helper`; here is a module that has it.
fn helper(arch: ModuleArch) -> Elf {
    exports(arch, "helper", "__ksymtab")
}

/// A module that exports its text under one name.
fn exports(arch: ModuleArch, name: &str, table: &str) -> Elf {
    let kind = if arch == ModuleArch::Arm64 { 261 } else { 2 };
    let mut elf = Elf::new(arch);
    let text = elf.section(".text", ALLOC | EXEC, 16, &[0; 64]);
    let names = elf.section("__ksymtab_strings", ALLOC, 1, format!("{name}\0").as_bytes());
    let section = elf.section(table, ALLOC, 4, &[0; 12]);
    let (value, name) = (elf.symbol("", text, 0), elf.symbol("", names, 0));
    elf.relocate(section, 0, value, kind, 0);
    elf.relocate(section, 4, name, kind, 0);
    elf
}

fn name(name: &str) -> ModuleName {
    ModuleName::from(name).unwrap()
}

#[test]
fn what_is_used_stays_until_its_users_are_gone() {
    each(|k| {
        let arch = k.arch;
        let helper = k.live("helper", helper(arch));
        let first = k.live("first", exporting(arch));
        assert_eq!(k.users(helper), ["first"]);
        let second = k.live("second", using(arch, "served", ""));
        let third = k.live("third", using(arch, "served", ""));
        assert_eq!((k.users(first), k.users(second)), (vec!["second", "third"], vec![]));
        let refused = k.unload(first).unwrap_err();
        let expected = UnloadError::InUse { users: 2, first: Some(name("second")), references: 0 };
        assert_eq!(refused, expected);
        assert_eq!(refused.to_string(), "the module is in use by: second and 1 more");
        assert_eq!(k.modules.state(first), Some(ModuleState::Live), "nothing has changed");
        k.unload(second).unwrap();
        assert_eq!(k.unload(first).unwrap_err().to_string(), "the module is in use by: third");
        k.unload(third).unwrap();
        k.unload(first).unwrap();
        assert_eq!(k.users(helper), Vec::<&str>::new());
        k.unload(helper).unwrap();
        assert_eq!(k.memory.live, 0);
        assert_eq!(k.unload(first), Err(UnloadError::None));
    });
}

#[test]
fn a_slot_that_is_used_again_is_not_the_old_module() {
    each(|k| {
        let arch = k.arch;
        let one = k.live("one", helper(arch));
        let user = k.live("user", using(arch, "helper", ""));
        k.unload(user).unwrap();
        k.unload(one).unwrap();
        let other = k.live("other", helper(arch));
        assert_eq!((k.users(other), k.modules.module(one).is_none()), (vec![], true));
        assert_eq!((k.unload(one), k.modules.get(one)), (Err(UnloadError::None), false));
        assert_eq!((k.modules.find("other"), k.modules.find("one")), (Some(other), None));
        k.unload(other).unwrap();
    });
}

#[test]
fn an_init_function_that_fails_leaves_nothing_and_holds_nobody() {
    each(|k| {
        let arch = k.arch;
        let helper = k.live("helper", helper(arch));
        let before = k.memory.live;
        let id = k.load("user", using(arch, "helper", "")).unwrap();
        assert_eq!(k.users(helper), ["user"], "while it is loaded");
        let refused = k.unload(helper).unwrap_err();
        assert!(matches!(refused, UnloadError::InUse { users: 1, .. }));
        let failed = k.modules.finish_init(id, -12, &mut k.memory);
        assert_eq!(failed, Err(InitFailed::Returned(-12)));
        assert_eq!((k.memory.live, k.modules.find("user")), (before, None));
        assert_eq!(k.modules.finish_init(id, 0, &mut k.memory), Err(InitFailed::NotComing));
        k.unload(helper).unwrap();
    });
}

#[test]
fn a_module_that_cannot_be_loaded_holds_nobody() {
    each(|k| {
        let arch = k.arch;
        let helper = k.live("helper", helper(arch));
        let before = k.memory.live;
        let mut elf = using(arch, "helper", "");
        let data = elf.section(".data.more", ALLOC | WRITE, 8, &[0; 8]);
        let missing = elf.symbol("missing", UNDEFINED, 0);
        elf.relocate(data, 0, missing, tables::address_kind(arch), 0);
        assert_eq!(k.load("user", elf).unwrap_err(), "Unknown symbol missing");
        assert_eq!((k.users(helper), k.memory.live), (vec![], before));
        k.unload(helper).unwrap();
    });
}

#[test]
fn what_is_not_live_is_not_used() {
    each(|k| {
        let arch = k.arch;
        let helper = k.load("helper", helper(arch)).unwrap();
        let said = "it needs symbols of helper, which is not live";
        assert_eq!(k.load("user", using(arch, "helper", "")).unwrap_err(), said);
        // A module that could do without is not loaded without it either: it would never find it.
        let before = k.memory.live;
        let mut elf = Elf::new(arch);
        let data = elf.section(".data", ALLOC | WRITE, 8, &[0; 8]);
        let weak = elf.weak("helper");
        elf.relocate(data, 0, weak, tables::address_kind(arch), 0);
        assert_eq!(k.load("weak", elf).unwrap_err(), said);
        assert_eq!(k.memory.live, before);
        assert!(matches!(k.unload(helper), Err(UnloadError::Busy { state: ModuleState::Coming, .. })));
        k.modules.finish_init(helper, 0, &mut k.memory).unwrap();
        k.modules.begin_unload(helper).unwrap();
        assert_eq!(k.load("user", using(arch, "helper", "")).unwrap_err(), said);
        assert!(!k.modules.get(helper));
        k.modules.finish_unload(helper, &mut k.memory).unwrap();
        assert_eq!(k.load("user", using(arch, "helper", "")).unwrap_err(), "Unknown symbol helper");
    });
}

#[test]
fn references_and_missing_exit_functions_keep_a_module() {
    each(|k| {
        let arch = k.arch;
        let id = k.live("helper", helper(arch));
        assert!(k.modules.get(id) && k.modules.get(id) && k.modules.put(id));
        assert_eq!(k.unload(id).unwrap_err().to_string(), "the module is in use");
        assert!(k.modules.put(id) && !k.modules.put(id));
        k.unload(id).unwrap();
        let mut elf = Elf::new(arch);
        let text = elf.section(".init.text", ALLOC | EXEC, 16, &[0; 16]);
        elf.section(".text", ALLOC | EXEC, 16, &[0; 16]);
        elf.symbol("init_module", text, 0);
        let stays = k.live("stays", elf);
        assert_eq!(k.unload(stays), Err(UnloadError::Permanent { module: name("stays") }));
    });
}

#[test]
fn exports_under_the_gpl_are_for_modules_that_say_so() {
    each(|k| {
        let arch = k.arch;
        let id = k.live("gpl", exports(arch, "restricted", "__ksymtab_gpl"));
        for (licence, found) in
            [("", false), ("license=MIT\0", false), ("license=Dual MIT/GPL\0", true), ("license=GPL\0", true)]
        {
            let loaded = k.load("user", using(arch, "restricted", licence));
            assert_eq!(loaded.is_ok(), found, "{licence} {loaded:?}");
            match loaded {
                Ok(user) => assert!(k.modules.finish_init(user, -1, &mut k.memory).is_err()),
                Err(why) => assert_eq!(why, "Unknown symbol restricted"),
            }
        }
        k.unload(id).unwrap();
    });
}

#[test]
fn names_and_places_are_checked() {
    each(|k| {
        let arch = k.arch;
        let elf = || exports(arch, "symbol", "__ksymtab");
        assert_eq!(k.load("", elf()).unwrap_err(), "a module's name has 1 to 55 bytes");
        assert_eq!(k.load(&"x".repeat(56), elf()).unwrap_err(), "a module's name has 1 to 55 bytes");
        for n in 0..SLOTS {
            k.live(&format!("module{n}"), elf());
        }
        assert_eq!(k.load("module2", elf()).unwrap_err(), "a module module2 is loaded already");
        assert_eq!(k.load("more", elf()).unwrap_err(), "there are 4 modules, and no place for another");
        assert_eq!(Modules::words(65), 130);
        let mut slots: [ModuleSlot; SLOTS] = Default::default();
        assert!(Modules::new(&mut slots, &mut [0; SLOTS - 1]).is_none());
    });
}

#[test]
fn modules_are_listed_as_proc_modules_has_them() {
    each(|k| {
        let arch = k.arch;
        let helper = k.live("helper", helper(arch));
        let first = k.live("first", exporting(arch));
        let start = |k: &Kernel<'_>, id| {
            let range = k.modules.module(id).unwrap().range(Part::Core).unwrap();
            (range.len, format!("{:#018x}", range.start.get()))
        };
        let second = k.load("second", using(arch, "served", "")).unwrap();
        let [(a, a_at), (b, b_at), (c, c_at)] = [helper, first, second].map(|id| start(k, id));
        let expected = format!(
            "second {c} 0 - Loading {c_at}\nfirst {b} 1 second, Live {b_at}\nhelper {a} 1 first, Live {a_at}\n"
        );
        assert_eq!(k.modules.to_string(), expected);
        // Faults are looked for in all of them.
        let text = k.modules.module(first).unwrap().group(Part::Core, Group::Text).unwrap().start;
        let fixup = k.modules.search_extables(&mut k.memory, va(text.get() + 8)).unwrap();
        assert_eq!(fixup.address, text.get() + 12);
        assert_eq!(k.modules.search_extables(&mut k.memory, va(text.get() + 4)), None);
    });
}
