//! What an allocation really takes: sizes as jemalloc rounds them.

/// The bytes that the allocator sets aside for a request of `size` bytes.
///
/// jemalloc has four size classes to each doubling, at least 16 bytes apart (8 is a class too).
#[must_use]
pub fn rounded(size: usize) -> usize {
    if size <= 8 {
        return if size == 0 { 0 } else { 8 };
    }
    let doubling = (size - 1).ilog2();
    let spacing = (1_usize << doubling.saturating_sub(2)).max(16);
    size.next_multiple_of(spacing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_of_the_jemalloc_manual() {
        let classes = [
            8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768,
            896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192,
            10240, 12288, 14336, 16384, 20480, 24576, 28672, 32768, 40960,
        ];
        let mut below = 0;
        for class in classes {
            assert_eq!(rounded(below + 1), class, "the first size above {below}");
            assert_eq!(rounded(class), class);
            below = class;
        }
        assert_eq!(rounded(0), 0);
    }
}
