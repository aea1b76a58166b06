-- A catalogue without photographs: a picture is drawn for each text, and a joint model says how well it fits the text.
CREATE OR REPLACE VIEW catalogue AS
SELECT product, description, mm_generate_image('painter', 'a product photo of ' || description, {steps: 20, seed: 7}) AS picture
FROM (VALUES ('mug', 'a white coffee mug'), ('lamp', 'a red desk lamp'), ('boat', 'a yellow toy boat')) AS products(product, description);

SELECT product, round(mm_similarity('clip', picture, description), 3) AS fit,
       mm_classify('clip', picture, ['a coffee mug', 'a desk lamp', 'a toy boat']).label AS looks_like
FROM catalogue ORDER BY fit DESC, product;
