/* Runs a frozen graph as a C++ product does, through TensorFlow's C API: the flow of a pair of pictures, summed.
   ./flow net.pb frames.raw HEIGHT WIDTH      frames.raw: float32 of shape (1, 2, HEIGHT, WIDTH, 3), RGB, 0 to 255 */
#include <stdio.h>
#include <stdlib.h>
#include <tensorflow/c/c_api.h>

static TF_Status *status;

static void check(int ok, const char *what) { /* ends the program unless all went well so far */
  if (ok && TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: %s\n", what, ok ? TF_Message(status) : "failed");
  exit(1);
}

static TF_Buffer *whole(const char *path) {
  FILE *file = fopen(path, "rb");
  check(file && !fseek(file, 0, SEEK_END), path);
  size_t size = ftell(file);
  void *data = malloc(size);
  rewind(file);
  check(fread(data, 1, size, file) == size, path);
  return TF_NewBufferFromString(data, size);
}

static void kept(void *data, size_t size, void *buffer) { (void)data, (void)size, (void)buffer; }

int main(int count, char **words) {
  status = TF_NewStatus();
  check(count == 5, "usage: flow net.pb frames.raw HEIGHT WIDTH");
  TF_Graph *graph = TF_NewGraph();
  TF_GraphImportGraphDef(graph, whole(words[1]), TF_NewImportGraphDefOptions(), status);
  check(1, "the graph");
  TF_Session *session = TF_NewSession(graph, TF_NewSessionOptions(), status);
  TF_Output in = {TF_GraphOperationByName(graph, "frames"), 0}, out = {TF_GraphOperationByName(graph, "output_0"), 0};
  check(in.oper && out.oper, "the graph's frames and output_0");
  int64_t shape[] = {1, 2, atoi(words[3]), atoi(words[4]), 3};
  TF_Buffer *frames = whole(words[2]);
  check(frames->length == shape[2] * shape[3] * 6 * sizeof(float), "the size of frames.raw");
  TF_Tensor *flow, *input = TF_NewTensor(TF_FLOAT, shape, 5, (void *)frames->data, frames->length, kept, NULL);
  TF_SessionRun(session, NULL, &in, &input, 1, &out, &flow, 1, NULL, 0, NULL, status);
  check(1, "the run");
  double sums[2] = {0, 0};
  for (int64_t i = 0; i < TF_TensorElementCount(flow); i++) sums[i % 2] += ((float *)TF_TensorData(flow))[i];
  printf("u %.9g\nv %.9g\n", sums[0], sums[1]);
  return 0;
}
