-- Real figures of 4,454 loans. The notes are synthetic: this view writes them from the figures.
CREATE OR REPLACE VIEW applications AS
SELECT *, concat(
    'Applicant of ', "Age", ', ', "Job", ' employment',
    CASE WHEN "Seniority" < 2 THEN ', started the present job only recently' ELSE concat(', for ', "Seniority", ' years') END,
    CASE WHEN "Records" = 'yes' THEN '. Earlier loans were paid back late or not at all' ELSE '. No irregularities on file' END,
    CASE WHEN "Debt" > 1000 THEN '. Pays off other debts at the same time' ELSE '' END,
    CASE WHEN "Home" = 'owner' THEN '. Owns the home.' ELSE '. Pays rent or lives with family.' END) AS note
FROM loans;

-- What the model takes, and what is done to it.
DESCRIBE MODEL credit;

-- Does the score separate? `a.*` passes every column that the model has an input for.
SELECT "Status" AS turned_out, count(*) AS loans, round(avg(mm_predict('credit', a.*).probabilities['bad']), 3) AS mean_risk
FROM applications a GROUP BY "Status" ORDER BY mean_risk;

-- The riskiest large loans, and how close each note is in meaning to a worry that is put in words.
SELECT "Amount" AS amount, round(risk, 3) AS risk,
       round(mm_similarity(mm_embed('minilm', note), mm_embed('minilm', 'the customer has defaulted before')), 3) AS worry, note
FROM (SELECT *, mm_predict('credit', a.*).probabilities['bad'] AS risk FROM applications a
      WHERE "Amount" >= 1500 ORDER BY risk DESC LIMIT 200)
ORDER BY worry DESC LIMIT 5;
