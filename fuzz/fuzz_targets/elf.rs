//! ELF files as the initrd and depmod read them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = hullwright::initrd::elf::parse(data);
    let _ = hullwright::kernel::modules::parse("kernel/drivers/a.ko", data);
});
