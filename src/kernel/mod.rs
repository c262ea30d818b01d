//! Kernel image, module closure, depmod indices.
