-- The quality engineer's model: which products of a line will be defective? `${products}` is a table of measurements in Hive,
-- `${hdfs}` a folder to write to.

-- 1. What there is to learn from.
SELECT label, count(*) AS products, count(*) - count(press) AS no_press, round(avg(temp), 1) AS temp
FROM ${products} GROUP BY label ORDER BY label;

CREATE SCHEMA IF NOT EXISTS mes;

-- 2. A first round with fixed parameters: missing values, min-max scaler, principal components, outliers, logistic regression.
CREATE OR REPLACE MODEL mes.defect
  TRANSFORM (ML.PCA(ML.MIN_MAX_SCALER(ML.IMPUTER(ARRAY[temp, press, vib, amp], 'median') OVER ()) OVER (), 3) OVER () AS pc,
             ML.ONE_HOT_ENCODER(line_id) OVER () AS line,
             label)
  TRAIN WHERE ML.OUTLIER_SCORE(pc, 'isolation_forest', seed => 7) OVER () < 0.65
  OPTIONS (model_type = 'logistic_reg', input_label_cols = ['label'], l2_reg = 1.0, auto_class_weights = true,
           data_split_method = 'random', data_split_eval_fraction = 0.2, seed = 42)
AS SELECT temp, press, vib, amp, line_id, label FROM ${products} WHERE dt < DATE '2026-01-01';

SELECT precision, recall, accuracy, roc_auc FROM ML.EVALUATE(MODEL mes.defect);

-- 3. Another round: 24 trials, six at once.
CREATE OR REPLACE MODEL mes.defect
  TRANSFORM (ML.PCA(ML.MIN_MAX_SCALER(ML.IMPUTER(ARRAY[temp, press, vib, amp], 'median') OVER ()) OVER (), 3) OVER () AS pc,
             ML.ONE_HOT_ENCODER(line_id) OVER () AS line,
             label)
  TRAIN WHERE ML.OUTLIER_SCORE(pc, 'isolation_forest', seed => 7) OVER () < 0.65
  OPTIONS (model_type = 'logistic_reg', input_label_cols = ['label'],
           l2_reg = HPARAM_RANGE(0.0, 10.0), l1_reg = HPARAM_CANDIDATES([0, 0.1, 1]),
           num_trials = 24, max_parallel_trials = 6, hparam_tuning_algorithm = 'tpe', hparam_tuning_objectives = ['roc_auc'],
           auto_class_weights = true, data_split_method = 'random', data_split_eval_fraction = 0.2, seed = 42, set_default = false)
AS SELECT temp, press, vib, amp, line_id, label FROM ${products} WHERE dt < DATE '2026-01-01';

SELECT trial_id, hyperparameters, roc_auc, is_best FROM ML.TRIAL_INFO(MODEL mes.defect VERSION 2) ORDER BY roc_auc DESC LIMIT 3;

SELECT * FROM ML.EVALUATE(MODEL mes.defect VERSION 2);

SELECT * FROM ML.CONFUSION_MATRIX(MODEL mes.defect VERSION 2);

SELECT count(*) AS points, max(recall) AS recall FROM ML.ROC_CURVE(MODEL mes.defect VERSION 2);

SELECT processed_input, round(weight, 3) AS weight FROM ML.WEIGHTS(MODEL mes.defect VERSION 2) ORDER BY abs(weight) DESC;

-- 4. The better one goes into production. What was not seen in training says how good it is.
ALTER MODEL mes.defect SET DEFAULT VERSION 2;

ALTER MODEL mes.defect SET ALIAS prod = 2;

SELECT accuracy, roc_auc
FROM ML.EVALUATE(MODEL mes.defect, (SELECT * FROM ${products} WHERE dt >= DATE '2026-01-01'));

-- 5. What the batch does every night: predictions for the products of the day.
SELECT id, predicted_label, predicted_label_probs
FROM ML.PREDICT(MODEL mes.defect, (SELECT id, temp, press, vib, amp, line_id FROM ${products} WHERE dt >= DATE '2026-01-01'))
ORDER BY id LIMIT 5;

SELECT predicted_label, count(*) AS products
FROM ML.PREDICT(MODEL mes.defect@prod, (SELECT id, temp, press, vib, amp, line_id FROM ${products} WHERE dt >= DATE '2026-01-01'))
GROUP BY predicted_label ORDER BY predicted_label;

SHOW MODELS;
