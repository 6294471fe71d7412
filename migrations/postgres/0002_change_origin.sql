-- Where a change came from: the IP address and the method of the call. NULL where there was no call.
ALTER TABLE change ADD COLUMN address TEXT;
ALTER TABLE change ADD COLUMN method TEXT;
