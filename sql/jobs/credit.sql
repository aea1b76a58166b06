-- {{ run_date }} and the job's parameters are values, not text.
SELECT concat("Seniority", '-', "Time", '-', "Age", '-', "Amount", '-', "Price", '-', "Expenses", '-', "Income", '-', "Assets") AS loan,
       {{ run_date }} AS scored_on, "Amount" AS amount, prediction.label AS label, prediction.probabilities['bad'] AS risk
FROM (SELECT *, mm_predict('credit', n.*) AS prediction
      FROM (SELECT *, concat('Applicant of ', "Age", ', ', "Job", ' employment, on file: ', "Records") AS note FROM loans) AS n)
WHERE "Amount" >= {{ least_amount }}
