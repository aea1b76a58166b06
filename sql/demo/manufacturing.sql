-- 2,000 simulated textiles. The model is an image encoder and a small head, joined into one.
DESCRIBE MODEL textile;

-- Pictures with an even number were not used in training: what was put in, and what is found.
SELECT defect AS put_in, prediction.label AS found, count(*) AS pictures, round(avg(prediction.score), 2) AS mean_score
FROM mm_predict_table('textile', (
    SELECT photo, defect FROM textiles WHERE right(split_part(photo, '.', 1), 1) IN ('0', '2', '4', '6', '8')))
GROUP BY put_in, found ORDER BY put_in, pictures DESC;
