//! Numbers that look random and are the same on every machine and with every version: the sample data is a fixture.

/// SplitMix64. Published sequences are not promised by the usual crates from one version to the next.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// Starts the sequence of one part of one table.
    pub(super) fn new(table: u64, part: u64) -> Self {
        let mut random = Self(0x4D61_7275 ^ (table << 48) ^ (part << 16));
        // Neighbouring seeds must not begin alike.
        random.next();
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`, which is not zero.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Returns a number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a number below `end` of which small ones are far likelier.
    pub(super) fn skewed(&mut self, end: u64) -> u64 {
        ((end as f64) * self.unit().powi(3)) as u64
    }

    /// Returns whether something happens that happens once in `times`.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Returns one of a list that is not empty, the first ones likelier.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.skewed(list.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_never_changes() {
        let mut random = Random::new(1, 2);
        let first = [random.next(), random.next()];
        let mut again = Random::new(1, 2);
        assert_eq!(first, [again.next(), again.next()]);
        assert_ne!(first[0], Random::new(1, 3).next());
        assert!((0..1000).all(|_| random.skewed(7) < 7 && random.unit() < 1.0));
    }
}
