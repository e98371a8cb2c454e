// Predicts rows of numbers with a cascade: node run.mjs cascade.onnx rows.json
// The rows are a list of lists, one number per feature. Prints one line of JSON for each row.
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";

const [modelPath, rowsPath] = process.argv.slice(2);
const rows = JSON.parse(readFileSync(rowsPath, "utf8"));
const session = await InferenceSession.create(modelPath);

// A file made from float64 rows takes float64, any other float32.
const double = session.inputMetadata?.[0]?.type === "float64";
const values = (double ? Float64Array : Float32Array).from(rows.flat());
const X = new Tensor(double ? "float64" : "float32", values, [rows.length, rows[0].length]);
const { label, probabilities, exit_stage, cost } = await session.run({ [session.inputNames[0]]: X });

const width = probabilities.dims[1];
rows.forEach((_, i) => {
  console.log(
    JSON.stringify({
      // Integers come as BigInt, which JSON.stringify rejects.
      label: typeof label.data[i] === "bigint" ? Number(label.data[i]) : label.data[i],
      probabilities: Array.from(probabilities.data.slice(i * width, (i + 1) * width)),
      exit_stage: Number(exit_stage.data[i]),
      cost: cost.data[i],
    }),
  );
});
