//! Trees as ONNX's `TreeEnsembleRegressor`.

use super::proto::{Attribute, DOUBLE, doubles};
use super::{Graph, Value};
use crate::model::tree::{LEAF, Tree};

/// Adds up what trees say, times `share`; `outputs` tells which ones a tree speaks of. Gives rows by output, as doubles.
pub(super) fn ensemble(
    graph: &mut Graph,
    x: &Value,
    trees: &[Tree],
    n_outputs: usize,
    outputs: impl Fn(usize) -> std::ops::Range<usize>,
    share: f64,
    base: &[f64],
) -> String {
    let (mut tree_ids, mut node_ids, mut features) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lefts, mut rights, mut modes, mut values) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut target_trees, mut target_nodes, mut target_ids) = (Vec::new(), Vec::new(), Vec::new());
    let mut weights = Vec::new();
    for (index, tree) in trees.iter().enumerate() {
        let spoken = outputs(index);
        let width = spoken.len();
        for node in 0..tree.feature.len() {
            let is_leaf = tree.feature[node] == LEAF;
            tree_ids.push(index as i64);
            node_ids.push(node as i64);
            features.push(if is_leaf { 0 } else { i64::from(tree.feature[node]) });
            lefts.push(if is_leaf { 0 } else { i64::from(tree.left[node]) });
            rights.push(if is_leaf { 0 } else { i64::from(tree.right[node]) });
            modes.push(if is_leaf { "LEAF" } else { "BRANCH_LEQ" }.to_owned());
            values.push(tree.threshold[node]);
            if is_leaf {
                for (nth, output) in spoken.clone().enumerate() {
                    target_trees.push(index as i64);
                    target_nodes.push(node as i64);
                    target_ids.push(output as i64);
                    weights.push(tree.value[node * width + nth] * share);
                }
            }
        }
    }
    let attributes = [
        ("n_targets", Attribute::Int(n_outputs as i64)),
        ("aggregate_function", Attribute::Text("SUM")),
        ("nodes_treeids", Attribute::Ints(tree_ids)),
        ("nodes_nodeids", Attribute::Ints(node_ids)),
        ("nodes_featureids", Attribute::Ints(features)),
        ("nodes_truenodeids", Attribute::Ints(lefts)),
        ("nodes_falsenodeids", Attribute::Ints(rights)),
        ("nodes_modes", Attribute::Texts(modes)),
        ("nodes_values_as_tensor", Attribute::Tensor(doubles("", &[values.len()], &values))),
        ("target_treeids", Attribute::Ints(target_trees)),
        ("target_nodeids", Attribute::Ints(target_nodes)),
        ("target_ids", Attribute::Ints(target_ids)),
        ("target_weights_as_tensor", Attribute::Tensor(doubles("", &[weights.len()], &weights))),
        ("base_values_as_tensor", Attribute::Tensor(doubles("", &[base.len()], base))),
    ];
    let said = graph.node("ai.onnx.ml", "TreeEnsembleRegressor", &[&x.name], &attributes);
    graph.node("", "Cast", &[&said], &[("to", Attribute::Int(DOUBLE))])
}
