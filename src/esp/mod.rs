//! The EFI system partition as a FAT32 image.
