"""The TensorFlow operations that only compute, by name: what a frozen graph or a SavedModel may ask for.

A list of what is allowed, not of what is forbidden. TensorFlow marks operations as stateful, but that does not say
which ones touch the world: ReadFile, MatchingFiles, PyFuncStateless, ImmutableConst (maps a file), DecodeProtoV2 (loads
a descriptor), GenerateVocabRemapping (reads a vocabulary) and Abort are all registered as stateless. The next release
may add another; an operation that this list has not heard of is refused until someone has looked at what it does.

Here is what networks that infer are made of: arithmetic, convolutions, pooling, resizing, quantisation, text in memory,
control flow, calls of the file's own functions, variables, tables in memory, random numbers. Not here: whatever reads
or writes files, sockets, devices by name or the process (datasets, readers, summaries, PrintV2, which writes to
`file://`), runs Python or a library (PyFunc, XlaCustomCall), talks to other hosts (Send, RPC, TPU, collectives), or is
internal to an engine (_Mkl...), since a file never has a reason to name it.

Reviewed against the 1910 operations that TensorFlow 2.21 registers; a test holds every name to exist there.
"""

_ARITHMETIC = """
Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2 Atanh
BatchMatMul BatchMatMulV2 BatchMatMulV3 BesselI0 BesselI0e BesselI1 BesselI1e BesselJ0 BesselJ1 BesselK0 BesselK0e
BesselK1 BesselK1e BesselY0 BesselY1 Betainc Bincount BitwiseAnd BitwiseOr BitwiseXor BroadcastGradientArgs Bucketize
Cast Ceil ClipByValue Complex ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp Dawsn DenseBincount
Digamma Div DivNoNan Einsum Equal Erf Erfc Erfinv EuclideanNorm Exp Expint Expm1 Floor FloorDiv FloorMod FresnelCos
FresnelSin Greater GreaterEqual HistogramFixedWidth Igamma Igammac Imag Inv Invert IsFinite IsInf IsNan L2Loss
LeftShift Less LessEqual Lgamma Log Log1p LogicalAnd LogicalNot LogicalOr MatMul Max Maximum Mean Min Minimum Mod Mul
MulNoNan Ndtri Neg NextAfter NotEqual Polygamma PopulationCount Pow Prod RaggedBincount Range Real RealDiv Reciprocal
RightShift Rint Round Rsqrt SegmentMax SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2 SegmentProd SegmentProdV2
SegmentSum SegmentSumV2 Select SelectV2 Sigmoid Sign Sin Sinh SobolSample SparseMatMul SparseSegmentMean
SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments SparseSegmentSum
SparseSegmentSumWithNumSegments Spence Sqrt Square SquaredDifference Sub Sum Tan Tanh TruncateDiv TruncateMod
UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
"""

_NETWORKS = """
_FusedBatchNormEx _FusedConv2D _FusedConv3D _FusedDepthwiseConv2dNative _FusedMatMul ApproxTopK AvgPool AvgPool3D
BatchNormWithGlobalNormalization BiasAdd BiasAddV1 BlockLSTM BlockLSTMV2 Conv Conv2D Conv2DBackpropFilter
Conv2DBackpropFilterV2 Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D Conv3DBackpropInput Conv3DBackpropInputV2
CTCBeamSearchDecoder CTCGreedyDecoder CTCLoss CTCLossV2 DataFormatDimMap DataFormatVecPermute DepthwiseConv2dNative
DepthwiseConv2dNativeBackpropInput Dilation2D Elu FractionalAvgPool FractionalMaxPool FusedBatchNorm FusedBatchNormV2
FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D GRUBlockCell InTopK InTopKV2 IsotonicRegression LeakyRelu
LogSoftmax LRN LSTMBlockCell MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax NearestNeighbors NthElement
QuantizedInstanceNorm Relu Relu6 Selu Softmax SoftmaxCrossEntropyWithLogits Softplus Softsign
SparseSoftmaxCrossEntropyWithLogits TopK TopKV2
"""

_GRADIENTS = """
AvgPool3DGrad AvgPoolGrad BiasAddGrad CholeskyGrad Conv3DBackpropFilter Conv3DBackpropFilterV2 CropAndResizeGradBoxes
CropAndResizeGradImage DepthwiseConv2dNativeBackpropFilter EluGrad FusedBatchNormGrad FusedBatchNormGradV2
FusedBatchNormGradV3 InvGrad LeakyReluGrad LRNGrad MaxPool3DGrad MaxPool3DGradGrad MaxPoolGrad MaxPoolGradGrad
MaxPoolGradGradV2 MaxPoolGradGradWithArgmax MaxPoolGradV2 MaxPoolGradWithArgmax MirrorPadGrad ReciprocalGrad Relu6Grad
ReluGrad ResizeBicubicGrad ResizeBilinearGrad ResizeNearestNeighborGrad RsqrtGrad ScaleAndTranslateGrad SeluGrad
SigmoidGrad SoftplusGrad SoftsignGrad SparseFillEmptyRowsGrad SparseSegmentMeanGrad SparseSegmentSqrtNGrad
SparseSegmentSumGrad SqrtGrad StridedSliceGrad TanhGrad TileGrad
"""

_SHAPES = """
BatchToSpace BatchToSpaceND Bitcast BroadcastArgs BroadcastTo Concat ConcatOffset ConcatV2 ConjugateTranspose Const
DeepCopy DepthToSpace Diag DiagPart DynamicPartition DynamicStitch EditDistance EnsureShape ExpandDims
ExtractImagePatches ExtractVolumePatches FakeParam Fill Fingerprint Gather GatherNd GatherV2 GuaranteeConst HostConst
Identity IdentityN InplaceAdd InplaceSub InplaceUpdate InvertPermutation LinSpace ListDiff LowerBound MatrixBandPart
MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2
MatrixSetDiagV3 MirrorPad OneHot OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch Placeholder
PlaceholderV2 PlaceholderWithDefault PreventGradient RandomIndexShuffle Rank Reshape Reverse ReverseSequence ReverseV2
Roll ScatterNd ScatterNdNonAliasingAdd Shape ShapeN Size Slice Snapshot SpaceToBatch SpaceToBatchND SpaceToDepth Split
SplitV Squeeze StopGradient StridedSlice TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub
TensorScatterUpdate TensorStridedSliceUpdate Tile Transpose Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack
UnravelIndex UpperBound Where ZerosLike
"""

_LINEAR_ALGEBRA = """
BandedTriangularSolve BatchCholesky BatchFFT BatchFFT2D BatchFFT3D BatchIFFT BatchIFFT2D BatchIFFT3D
BatchMatrixBandPart BatchMatrixDeterminant BatchMatrixDiag BatchMatrixDiagPart BatchMatrixInverse BatchMatrixSetDiag
BatchMatrixSolve BatchMatrixSolveLs BatchMatrixTriangularSolve BatchSelfAdjointEig BatchSelfAdjointEigV2 BatchSvd
Cholesky Eig FFT FFT2D FFT3D FFTND IFFT IFFT2D IFFT3D IFFTND IRFFT IRFFT2D IRFFT3D IRFFTND LogMatrixDeterminant Lu
MatrixDeterminant MatrixExponential MatrixInverse MatrixLogarithm MatrixSolve MatrixSolveLs MatrixSquareRoot
MatrixTriangularSolve Qr RFFT RFFT2D RFFT3D RFFTND SelfAdjointEig SelfAdjointEigV2 Svd TridiagonalMatMul
TridiagonalSolve
"""

_IMAGES = """
AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation AudioSpectrogram CombinedNonMaxSuppression CropAndResize
DecodeAndCropJpeg DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePng DecodeWav DrawBoundingBoxes DrawBoundingBoxesV2
EncodeJpeg EncodePng ExtractGlimpse ExtractGlimpseV2 ExtractJpegShape GenerateBoundingBoxProposals HSVToRGB
ImageProjectiveTransformV2 ImageProjectiveTransformV3 Mfcc NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3
NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps ResizeArea ResizeBicubic ResizeBilinear
ResizeNearestNeighbor RGBToHSV SampleDistortedBoundingBox SampleDistortedBoundingBoxV2 ScaleAndTranslate
StatelessSampleDistortedBoundingBox
"""

_QUANTISATION = """
Dequantize FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient FakeQuantWithMinMaxVars
FakeQuantWithMinMaxVarsGradient FakeQuantWithMinMaxVarsPerChannel FakeQuantWithMinMaxVarsPerChannelGradient
QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizedAdd
QuantizedAvgPool QuantizedBatchNormWithGlobalNormalization QuantizedBiasAdd QuantizedConcat QuantizedConv2D
QuantizedMatMul QuantizedMaxPool QuantizedMul QuantizeDownAndShrinkRange QuantizedRelu QuantizedRelu6 QuantizedReluX
QuantizedReshape QuantizedResizeBilinear QuantizeV2 RequantizationRange Requantize UniformDequantize UniformQuantize
UniformQuantizedAdd UniformQuantizedClipByValue UniformQuantizedConvolution UniformQuantizedConvolutionHybrid
UniformQuantizedDot UniformQuantizedDotHybrid UniformRequantize
"""

_TEXT_AND_RECORDS = """
AsString DecodeBase64 DecodeCompressed DecodeCSV DecodeJSONExample DecodePaddedRaw DecodeRaw EncodeBase64 ParseExample
ParseExampleV2 ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample ParseSingleSequenceExample ParseTensor
ReduceJoin RegexFullMatch RegexReplace SerializeTensor StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin
StringLength StringLower StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast
StringToHashBucketStrong StringToNumber StringUpper Substr UnicodeDecode UnicodeDecodeWithOffsets UnicodeEncode
UnicodeScript UnicodeTranscode UnsortedSegmentJoin
"""

_SPARSE_AND_RAGGED = """
CSRSparseMatrixToDense CSRSparseMatrixToSparseTensor DenseCountSparseOutput DenseToCSRSparseMatrix
DenseToDenseSetOperation DenseToSparseSetOperation DeserializeManySparse DeserializeSparse RaggedCountSparseOutput
RaggedCross RaggedFillEmptyRows RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse
RaggedTensorToTensor RaggedTensorToVariant SerializeManySparse SerializeSparse SetSize SparseAdd SparseBincount
SparseConcat SparseCountSparseOutput SparseCross SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd
SparseDenseCwiseDiv SparseDenseCwiseMul SparseFillEmptyRows SparseMatrixAdd SparseMatrixMatMul SparseMatrixMul
SparseMatrixNNZ SparseMatrixSoftmax SparseMatrixSparseMatMul SparseMatrixTranspose SparseMatrixZeros SparseReduceMax
SparseReduceMaxSparse SparseReduceSum SparseReduceSumSparse SparseReorder SparseReshape SparseSlice SparseSoftmax
SparseSparseMaximum SparseSparseMinimum SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul
SparseTensorToCSRSparseMatrix SparseToDense SparseToSparseSetOperation
"""

_CONTROL = """
Assert Case CheckNumerics CheckNumericsV2 ControlTrigger EmptyTensorList EmptyTensorMap Enter Exit For If LoopCond
MapDefun Merge NextIteration NoOp OptionalFromValue OptionalGetValue OptionalHasValue OptionalNone PartitionedCall
StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile Switch TensorArrayCloseV3 TensorArrayConcatV3
TensorArrayGatherV3 TensorArrayGradV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3
TensorArrayV3 TensorArrayWriteV3 TensorListConcat TensorListConcatLists TensorListConcatV2 TensorListElementShape
TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
TensorListPushBackBatch TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList
TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack TensorMapErase TensorMapHasKey TensorMapInsert
TensorMapLookup TensorMapSize TensorMapStackKeys ToBool While
"""

_STATE_IN_MEMORY = """
AnonymousHashTable AnonymousMutableDenseHashTable AnonymousMutableHashTable AnonymousMutableHashTableOfTensors Assign
AssignAddVariableOp AssignSubVariableOp AssignVariableOp DestroyResourceOp DisableCopyOnRead HashTable HashTableV2
InitializeTable InitializeTableV2 IsVariableInitialized LookupTableExport LookupTableExportV2 LookupTableFind
LookupTableFindV2 LookupTableImport LookupTableImportV2 LookupTableInsert LookupTableInsertV2 LookupTableSize
LookupTableSizeV2 MutableDenseHashTable MutableDenseHashTableV2 MutableHashTable MutableHashTableOfTensors
MutableHashTableOfTensorsV2 MutableHashTableV2 ReadVariableOp ResourceGather ResourceGatherNd ResourceScatterAdd
ResourceScatterNdAdd ResourceScatterNdUpdate ResourceScatterUpdate ResourceStridedSliceAssign VarHandleOp Variable
VariableShape VariableV2 VarIsInitializedOp
"""

_RANDOM = """
AnonymousSeedGenerator Multinomial ParameterizedTruncatedNormal RandomGamma RandomPoisson RandomPoissonV2
RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt RngReadAndSkip RngSkip StatefulStandardNormalV2
StatefulTruncatedNormal StatefulUniform StatefulUniformFullInt StatefulUniformInt StatelessMultinomial
StatelessParameterizedTruncatedNormal StatelessRandomBinomial StatelessRandomGammaV2 StatelessRandomGammaV3
StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
StatelessRandomNormalV2 StatelessRandomPoisson StatelessRandomUniform StatelessRandomUniformFullInt
StatelessRandomUniformFullIntV2 StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2
StatelessShuffle StatelessTruncatedNormal StatelessTruncatedNormalV2 TruncatedNormal
"""

_GROUPS = (
    _ARITHMETIC,
    _NETWORKS,
    _GRADIENTS,
    _SHAPES,
    _LINEAR_ALGEBRA,
    _IMAGES,
    _QUANTISATION,
    _TEXT_AND_RECORDS,
    _SPARSE_AND_RAGGED,
    _CONTROL,
    _STATE_IN_MEMORY,
    _RANDOM,
)

COMPUTE = frozenset(name for group in _GROUPS for name in group.split())
"""What only computes."""

_SAVING = """
MergeV2Checkpoints Restore RestoreSlice RestoreV2 Save SaveSlices SaveV2 ShardedFilename ShardedFilespec
"""
SAVERS = frozenset(_SAVING.split())
"""What a SavedModel's own saving and restoring is made of: for it alone they are no reason to refuse."""

_REASONS = {
    "reads or writes files": """ReadFile WriteFile MatchingFiles ImmutableConst DecodeProtoV2 EncodeProto
        GenerateVocabRemapping InitializeTableFromTextFile InitializeTableFromTextFileV2 LoadAndRemapMatrix PrintV2
        WholeFileReader WholeFileReaderV2 TextLineReader TextLineReaderV2 TFRecordReader TFRecordReaderV2 LMDBReader
        FixedLengthRecordReader FixedLengthRecordReaderV2 FileSystemSetConfiguration DebugIdentity DebugIdentityV2
        DebugIdentityV3 ExperimentalMatchingFilesDataset""",
    "runs Python": "PyFunc PyFuncStateless EagerPyFunc",
    "runs code from outside of the file": "XlaCustomCall XlaCustomCallV2 RemoteCall XlaCallModule",
    "talks to other processes or hosts": "Send Recv _Send _Recv _HostSend _HostRecv SendTPUEmbeddingGradients",
    "ends the process": "Abort",
}
_BEGINNINGS = {
    "Collective": "talks to other processes or hosts",
    "Rpc": "talks to other processes or hosts",
    "DataService": "talks to other processes or hosts",
    "TPU": "needs a device that is not here",
    "_Mkl": "is internal to TensorFlow",
    "CreateSummary": "reads or writes files",
}
_ENDINGS = {
    "Dataset": "reads data of its own",
    "DatasetV2": "reads data of its own",
    "DatasetV3": "reads data of its own",
    "DatasetV4": "reads data of its own",
    "Summary": "reads or writes files",
    "SummaryWriter": "reads or writes files",
}


def why_refused(name: str) -> str:
    """What an operation that is not in COMPUTE does, as far as its name says.

    >>> why_refused("PyFunc")
    'runs Python'
    """
    if name in SAVERS:
        return "reads or writes files"
    for reason, names in _REASONS.items():
        if name in names.split():
            return reason
    for ends, meets in ((_BEGINNINGS, name.startswith), (_ENDINGS, name.endswith)):
        for end, reason in ends.items():
            if meets(end):
                return reason
    return "is not known to do nothing but compute"
