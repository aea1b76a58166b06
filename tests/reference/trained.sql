-- Models of all kinds of heads and fusions over `trained/rows.parquet`, and their packages; run in the root folder.
CREATE MODEL clip FROM 'tests/fixtures/joint/clip';
CREATE EXTERNAL TABLE rows STORED AS PARQUET LOCATION 'tests/fixtures/trained/rows.parquet';

CREATE MODEL linear OPTIONS (label = 'good', head = 'linear', seed = 3) AS SELECT amount, age, job, good FROM rows;
CREATE MODEL trees OPTIONS (label = 'price', head = 'trees', seed = 3) AS SELECT amount, age, job, price FROM rows;
CREATE MODEL network OPTIONS (label = 'size', head = 'mlp', seed = 3) AS SELECT amount, age, job, size FROM rows;
CREATE MODEL late OPTIONS (label = 'size', fusion = 'late', head = 'trees', optional = ['photo_vector'], seed = 3)
  AS SELECT amount, age, job, note_vector, photo_vector, size FROM rows;
CREATE MODEL stacked OPTIONS (label = 'price', fusion = 'hybrid', head = 'linear', optional = ['photo_vector'], seed = 3)
  AS SELECT amount, age, job, note_vector, photo_vector, price FROM rows;
CREATE MODEL hybrid OPTIONS (label = 'good', fusion = 'hybrid', head = 'mlp', optional = ['photo_vector'], seed = 3)
  AS SELECT amount, age, job, note_vector, photo_vector, good FROM rows;
CREATE MODEL encoders OPTIONS (label = 'good', text = 'clip', image = 'clip', text_columns = ['note'], fusion = 'early', head = 'linear', optional = ['photo'], seed = 3)
  AS SELECT amount, age, job, note, photo, good FROM rows;

EXPORT MODEL linear TO 'tests/fixtures/trained/linear';
EXPORT MODEL trees TO 'tests/fixtures/trained/trees';
EXPORT MODEL network TO 'tests/fixtures/trained/network';
EXPORT MODEL late TO 'tests/fixtures/trained/late';
EXPORT MODEL stacked TO 'tests/fixtures/trained/stacked';
EXPORT MODEL hybrid TO 'tests/fixtures/trained/hybrid';
EXPORT MODEL encoders TO 'tests/fixtures/trained/encoders';
