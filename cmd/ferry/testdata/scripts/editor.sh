# Write a new file beside the old and rename it over, as editors do.
echo line 1 >doc
for i in $(seq 2 20); do
	cp -p doc .doc.swp
	echo "line $i" >>.doc.swp
	sync .doc.swp
	mv doc doc~
	mv .doc.swp doc
	rm doc~
done
"$FERRY" wait --timeout 1m .
test "$(wc -l <doc)" = 20
test "$(ls -A)" = doc
