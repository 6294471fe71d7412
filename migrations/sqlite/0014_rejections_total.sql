-- How many resources an edge could not apply; rejections names the newest of them.
ALTER TABLE edge ADD COLUMN rejections_total INTEGER NOT NULL DEFAULT 0;
