//! Random numbers that are the same on every machine and in every version, and hashes that are.

/// A generator: splitmix64, whose state is one number.
#[derive(Debug, Clone)]
pub struct Random(u64);

/// Mixes a number so that every bit depends on every bit.
pub fn mix(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Adds a value to a hash.
pub fn hash_with(hash: u64, value: u64) -> u64 {
    mix(hash.rotate_left(5) ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Hashes text.
pub fn hash_text(text: &str) -> u64 {
    let mut hash = 0x243f_6a88_85a3_08d3_u64 ^ text.len() as u64;
    for chunk in text.as_bytes().chunks(8) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        hash = hash_with(hash, u64::from_le_bytes(bytes));
    }
    hash
}

/// Turns a hash into a number from 0 to below 1.
pub fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

impl Random {
    /// `stream` tells apart the generators of one seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(hash_with(mix(seed ^ 0x5851_f42d_4c95_7f2d), stream))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// From 0 to below 1.
    pub fn next_f64(&mut self) -> f64 {
        unit(self.next_u64())
    }

    /// From 0 to below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Normally distributed, mean 0, deviation 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.next_f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.next_f64()).cos()
    }

    /// Returns `k` of `0..n`, each set as likely as another, in a random order.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        let k = k.min(n);
        if k * 4 < n {
            // Floyd's: few of many.
            let mut taken = std::collections::HashSet::with_capacity(k);
            let mut order = Vec::with_capacity(k);
            for top in n - k..n {
                let pick = self.below(top + 1);
                let pick = if taken.insert(pick) { pick } else { top };
                taken.insert(pick);
                order.push(pick);
            }
            return order;
        }
        let mut all = (0..n).collect::<Vec<_>>();
        for at in 0..k {
            let other = at + self.below(n - at);
            all.swap(at, other);
        }
        all.truncate(k);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_the_same_everywhere() {
        let mut random = Random::new(42, 0);
        assert_eq!(random.clone().next_u64(), Random::new(42, 0).next_u64());
        let mean = (0..10_000).map(|_| random.next_f64()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        for (n, k) in [(10, 10), (1000, 5), (7, 3)] {
            let mut picked = random.sample(n, k);
            picked.sort_unstable();
            picked.dedup();
            assert_eq!(picked.len(), k);
            assert!(picked.iter().all(|one| *one < n));
        }
    }
}
