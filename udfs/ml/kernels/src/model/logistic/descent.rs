//! Limited-memory BFGS; with an l1 penalty within orthants (Andrew and Gao, 2007).

use std::collections::VecDeque;

use maru_core::Result;

use super::{Diary, Problem};
use crate::linalg::{add_scaled, dot};

/// Steps that are remembered.
const MEMORY: usize = 10;

/// The gradient with the l1 penalty, which at 0 takes the side that lowers the loss, if one does.
fn with_penalty(gradient: &[f64], unknowns: &[f64], l1: &[f64]) -> Vec<f64> {
    let one = |((g, u), l1): ((&f64, &f64), &f64)| {
        if *l1 == 0.0 {
            *g
        } else if *u != 0.0 {
            g + l1 * u.signum()
        } else if g + l1 < 0.0 {
            g + l1
        } else if g - l1 > 0.0 {
            g - l1
        } else {
            0.0
        }
    };
    gradient.iter().zip(unknowns).zip(l1).map(one).collect()
}

pub(super) fn lbfgs(
    problem: &Problem<'_>,
    unknowns: &mut Vec<f64>,
    max_iterations: usize,
    diary: &mut Diary,
) -> Result<bool> {
    let rows = (problem.x.n_rows as f64).max(1.0);
    let mut pairs = VecDeque::<(Vec<f64>, Vec<f64>, f64)>::new();
    let (mut loss, mut gradient) = problem.loss_and_gradient(unknowns)?;
    let mut quiet = 0;
    for _ in 0..max_iterations {
        let slope = with_penalty(&gradient, unknowns, &problem.l1);
        if slope.iter().map(|g| g.abs()).fold(0.0, f64::max) <= 1e-9 * rows {
            return Ok(true);
        }
        let mut direction = slope.iter().map(|g| -g).collect::<Vec<_>>();
        let mut shares = Vec::with_capacity(pairs.len());
        for (step, change, inverse) in pairs.iter().rev() {
            let share = inverse * dot(step, &direction);
            add_scaled(&mut direction, -share, change);
            shares.push(share);
        }
        if let Some((step, change, _)) = pairs.back() {
            let scale = dot(step, change) / dot(change, change);
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for ((step, change, inverse), share) in pairs.iter().zip(shares.iter().rev()) {
            let back = inverse * dot(change, &direction);
            add_scaled(&mut direction, share - back, step);
        }
        for ((d, s), l1) in direction.iter_mut().zip(&slope).zip(&problem.l1) {
            if *l1 > 0.0 && *d * *s >= 0.0 {
                *d = 0.0;
            }
        }
        let descent = dot(&slope, &direction);
        let whole = loss + problem.l1_loss(unknowns);
        let mut length =
            if pairs.is_empty() { 1.0 / dot(&slope, &slope).sqrt().max(1.0) } else { 1.0 };
        let (mut next, mut next_loss, mut next_gradient);
        loop {
            next = unknowns.clone();
            add_scaled(&mut next, length, &direction);
            for (((n, u), s), l1) in next.iter_mut().zip(&*unknowns).zip(&slope).zip(&problem.l1) {
                let side = if *u == 0.0 { -s.signum() } else { u.signum() };
                if *l1 > 0.0 && *n * side < 0.0 {
                    *n = 0.0;
                }
            }
            (next_loss, next_gradient) = problem.loss_and_gradient(&next)?;
            let lower = next_loss + problem.l1_loss(&next) <= whole + 1e-4 * length * descent;
            if lower || length < 1e-10 {
                break;
            }
            length *= 0.5;
        }
        let step = next.iter().zip(&*unknowns).map(|(n, u)| n - u).collect::<Vec<_>>();
        let change = next_gradient.iter().zip(&gradient).map(|(n, g)| n - g).collect::<Vec<_>>();
        let curve = dot(&step, &change);
        if curve > 1e-12 * dot(&change, &change).sqrt() * dot(&step, &step).sqrt() {
            if pairs.len() == MEMORY {
                pairs.pop_front();
            }
            pairs.push_back((step.clone(), change, 1.0 / curve));
        }
        *unknowns = next;
        (loss, gradient) = (next_loss, next_gradient);
        let now = loss + problem.l1_loss(unknowns);
        diary.note(now / rows, Some(step.iter().map(|s| s.abs()).fold(0.0, f64::max)));
        quiet = if whole - now <= 1e-13 * whole.abs() { quiet + 1 } else { 0 };
        if quiet >= 3 {
            return Ok(true);
        }
    }
    Ok(false)
}
